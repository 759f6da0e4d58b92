-- Consume a ticket, at its host and for its browser only; anybody else's attempt leaves it as it is. KEYS: ticket. ARGV: binding id, host.
local ticket = redis.call('HMGET', KEYS[1], 'p', 'k', 'h')
if not ticket[1] or ticket[2] ~= ARGV[1] or ticket[3] ~= ARGV[2] then return false end
redis.call('DEL', KEYS[1])
return ticket[1]
