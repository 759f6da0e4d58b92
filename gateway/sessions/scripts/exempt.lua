-- A person has a group although it was taken from everybody: they were added to a group of this name after that.
-- KEYS: clock, then keys of the person's overlays. ARGV: fields, space-separated; watermark of the removal. Returns which server this is.
go_on_when_full()
local n = 1
for field in string.gmatch(ARGV[1], '%S+') do
  n = n + 1
  local known = tonumber(redis.call('HGET', KEYS[n], field) or '0')
  if known < tonumber(ARGV[2]) then redis.call('HSET', KEYS[n], field, ARGV[2]) end
end
return identity()
