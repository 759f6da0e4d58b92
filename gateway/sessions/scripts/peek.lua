-- Read a pending login without consuming it. KEYS: pending. ARGV: binding id. Returns the sealed value or nothing.
local pending = redis.call('HMGET', KEYS[1], 'p', 'k', 's')
if not pending[1] or pending[2] ~= ARGV[1] or pending[3] ~= identity() then return false end
return pending[1]
