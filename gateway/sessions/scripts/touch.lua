-- Extend the idle time of sessions of one bucket (a child and its parent). Never resurrects: EXPIRE does nothing to what is gone.
-- KEYS: sessions. ARGV: idle (ms), absolute limit (s). Returns 1 while the first of them lives.
local at = text(math.min(now_us() / 1000 + tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000))
local first = redis.call('PEXPIREAT', KEYS[1], at)
for i = 2, #KEYS do redis.call('PEXPIREAT', KEYS[i], at) end
return first
