-- Consume a ticket. It is good at its host and for its browser only, and shown anywhere else it is deleted too.
-- KEYS: ticket. ARGV: host, then the ids of the browser's bindings. Returns nothing, {'other'} or {'taken', sealed, id of its binding}.
local ticket = redis.call('HMGET', KEYS[1], 'p', 'k', 'h')
if not ticket[1] then return false end
redis.call('DEL', KEYS[1])
if ticket[3] ~= ARGV[1] or not has(ARGV, ticket[2], 2) then return {'other'} end
return {'taken', ticket[1], ticket[2]}
