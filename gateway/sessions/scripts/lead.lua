-- One process does what one of all has to do. KEYS: its lease. ARGV: process, how long it leads from now on (ms; 0 gives the lease back).
-- Returns 1 to the process that leads.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
