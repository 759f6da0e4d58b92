-- Take leases away that were not renewed since they were seen. KEYS: leases. ARGV: replica, lease as it was seen, and so on. Returns how many went.
local gone = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then gone = gone + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return gone
