-- An app password is in use. Never resurrects. KEYS: family. Returns 1 while it lives.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'y', text(now_us() / 1000000))
return 1
