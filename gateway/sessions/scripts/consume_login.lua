-- Consume a pending login, for the browser that began it only; shown by any other browser it is deleted. KEYS: pending. ARGV: ids of the browser's bindings.
-- Returns nothing, {'other'}, or {'taken' | 'again', sealed, began, server, id of its binding}. The tombstone lets a reload by the same browser be told from an unknown state.
local pending = redis.call('HMGET', KEYS[1], 'p', 'b', 'k', 't', 's')
if not pending[1] then return false end
if not has(ARGV, pending[3]) then
  -- Whoever began it may read this browser's history or the access log; a login that was consumed opens nothing any more.
  if not pending[4] then redis.call('DEL', KEYS[1]) end
  return {'other'}
end
if pending[5] ~= identity() then return false end
if pending[4] then return {'again', pending[1], pending[2], pending[5], pending[3]} end
redis.call('HSET', KEYS[1], 't', '1')
return {'taken', pending[1], pending[2], pending[5], pending[3]}
