-- Extend the idle time of sessions of one bucket (a child and its parent). Never resurrects: EXPIRE does nothing to what is gone.
-- Never shortens: who knew of a socket that is open until then may be another process.
-- KEYS: sessions. ARGV: how long from now (ms), absolute limit (s). Returns 1 while the first of them lives.
local now = now_us() / 1000
local at = math.min(now + tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000)
local first = 0
for i = 1, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if left == -1 or (left >= 0 and now + left < at) then redis.call('PEXPIREAT', KEYS[i], text(at)) end
  if i == 1 and left ~= -2 then first = 1 end
end
return first
