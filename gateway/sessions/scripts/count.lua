-- Counts are added to those of an interval. KEYS: its hash. ARGV: seconds that it lives from now on, then series and count in turn.
local now = {}
for n = 2, #ARGV, 2 do
  now[#now + 1] = ARGV[n]
  now[#now + 1] = (tonumber(redis.call('HGET', KEYS[1], ARGV[n]) or '0') or 0) + tonumber(ARGV[n + 1])
end
redis.call('HSET', KEYS[1], unpack(now))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
