-- An app password, and its person as their last login left them. KEYS: its sealed value, its family. ARGV: prefix.
-- Returns {marker or nothing}, and where nothing stands against it: sealed value, ms to live, user alias, `began` of that login, sealed identity.
local marker = believed(ARGV[1], identity())
if not marker then return {false} end
local value = redis.call('GET', KEYS[1])
local family = redis.call('HMGET', KEYS[2], 'u', 'w', 'p')
if not value or not family[3] then return {marker} end
local login = redis.call('HMGET', ARGV[1] .. 'k:' .. family[1], 'w', 'a', 'g')
if not login[1] or not login[3] or stands_against(ARGV[1], login[2], tonumber(family[2])) then return {marker} end
return {marker, value, redis.call('PTTL', KEYS[1]), family[1], login[1], login[3]}
