-- A pending login. KEYS: clock, pending. ARGV: sealed, binding id, lifetime (s). Returns `began`.
local began = text(tick(KEYS[1]))
redis.call('HSET', KEYS[2], 'p', ARGV[1], 'b', began, 'k', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return began
