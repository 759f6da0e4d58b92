-- End one family of a tenant. KEYS: family, then index keys to leave. ARGV: prefix, family, tenant, user alias ('' for any),
-- 5 only if it began before this ('' for whenever).
-- Returns {sessions ended, sealed refresh token or nothing}.
go_on_when_full()
local owner = redis.call('HMGET', KEYS[1], 't', 'u', 'r', 'w')
-- A repeated call may find that the one before, whose answer was lost, has ended it already, and WAIT speaks of a connection's own writes.
if not owner[1] then tick(ARGV[1] .. 'c:' .. ARGV[3]) end
if owner[1] ~= ARGV[3] or (ARGV[4] ~= '' and owner[2] ~= ARGV[4]) then return {0} end
if ARGV[5] ~= '' and tonumber(owner[4]) >= tonumber(ARGV[5]) then return {0} end
local ended = {}
end_family(ARGV[1], ARGV[2], ended)
for i = 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[2]) end
push(ARGV[1], ended)
return {#ended, owner[3]}
