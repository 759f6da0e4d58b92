-- A later login of this person was refused for what it said: the link record of an earlier one lets no token and no app password in any more.
-- KEYS the person's link records, one for each key of the ring. ARGV: began of the later login, the tenant's clock. Returns how many went.
go_on_when_full()
local gone = 0
for _, link in ipairs(KEYS) do
  local at = redis.call('HGET', link, 'w')
  if at and tonumber(at) < tonumber(ARGV[1]) then gone = gone + math.min(1, redis.call('HDEL', link, 'w', 'a', 'd', 'g')) end
end
if gone == 0 then tick(ARGV[2]) end  -- as in logout
return gone
