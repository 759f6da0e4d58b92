-- The admin role confirmed that Cognito's stored attribute lacks the group: logins that begin from now on may lift the overlay.
-- KEYS: clock, then keys of overlays. ARGV: fields, space-separated; watermark of the removal that was cleared. Returns the clock.
go_on_when_full()
local now = tick(KEYS[1])
local n = 1
for field in string.gmatch(ARGV[1], '%S+') do
  n = n + 1
  local since = string.match(redis.call('HGET', KEYS[n], field) or '', '^(%d+):')
  -- A removal that came later has yet to be cleared.
  if since and tonumber(since) <= tonumber(ARGV[2]) then redis.call('HSET', KEYS[n], field, since .. ':' .. text(now)) end
end
return text(now)
