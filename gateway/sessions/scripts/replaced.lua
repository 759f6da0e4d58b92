-- A session whose browser has been given another cookie in its place ends, and its family with the last of its sessions.
-- KEYS: family, session. ARGV: prefix, family, tenant, digest. Returns {sessions ended, sealed refresh token where the family has ended}.
go_on_when_full()
local owner = redis.call('HMGET', KEYS[1], 't', 'r')
if not owner[1] then tick(ARGV[1] .. 'c:' .. ARGV[3]) end  -- as in logout
if owner[1] ~= ARGV[3] then return {0} end
local ended = {}
if redis.call('DEL', KEYS[2]) == 1 then ended[1] = ARGV[4] else tick(ARGV[1] .. 'c:' .. ARGV[3]) end
redis.call('HDEL', KEYS[1], 'm:' .. ARGV[4])
local refresh = false
if not alive(ARGV[1], (members(ARGV[1], ARGV[2]))) then
  refresh = owner[2]
  end_family(ARGV[1], ARGV[2], ended)
end
push(ARGV[1], ended)
return {#ended, refresh}
