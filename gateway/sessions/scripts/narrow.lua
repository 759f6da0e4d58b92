-- From now on nothing is answered for these tenants from a snapshot older than this. KEYS: generation demanded. ARGV: prefix, generation, tenants. Returns which server this is.
go_on_when_full()
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known < tonumber(ARGV[2]) then redis.call('SET', KEYS[1], ARGV[2]) end
event(ARGV[1], 'g ' .. ARGV[2] .. ' ' .. ARGV[3])
return identity()
