-- Consume a pending login, for the browser that began it only. KEYS: pending. ARGV: binding id.
-- Returns nothing, or {'taken' | 'again', sealed, began, server}. The tombstone lets a reload by the same browser be told from an unknown state.
local pending = redis.call('HMGET', KEYS[1], 'p', 'b', 'k', 't', 's')
if not pending[1] or pending[3] ~= ARGV[1] or pending[5] ~= identity() then return false end
if pending[4] then return {'again', pending[1], pending[2]} end
redis.call('HSET', KEYS[1], 't', '1')
return {'taken', pending[1], pending[2], pending[5]}
