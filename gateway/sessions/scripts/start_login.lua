-- A pending login. KEYS: clock, pending. ARGV: sealed, binding id, lifetime (s), prefix. Returns `began`.
-- It dies with this server: `began` says nothing on the clock of another.
local unrestored, server = demand_restored(ARGV[4])
if unrestored then return unrestored end
local began = text(tick(KEYS[1]))
redis.call('HSET', KEYS[2], 'p', ARGV[1], 'b', began, 'k', ARGV[2], 's', server)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return began
