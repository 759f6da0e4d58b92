-- A later login of this person was refused for what it said: the link record of an earlier one lets no token in any more.
-- KEYS the person's link records, one for each key of the ring. ARGV: began of the later login. Returns how many went.
local gone = 0
for _, link in ipairs(KEYS) do
  local at = redis.call('HGET', link, 'w')
  if at and tonumber(at) < tonumber(ARGV[1]) then gone = gone + math.min(1, redis.call('HDEL', link, 'w', 'a', 'd')) end
end
return gone
