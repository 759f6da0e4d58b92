-- Sign-ins that are on record leave the list, unless another process has taken them away already.
--
-- KEYS  list
-- ARGV  entries, oldest first: each is there once at most
-- Returns how many were taken away.
local there = redis.call('LRANGE', KEYS[1], 0, #ARGV - 1)
local first, gone = 1, 0
while first <= #ARGV and ARGV[first] ~= there[1] do first = first + 1 end
while first + gone <= #ARGV and ARGV[first + gone] == there[gone + 1] do gone = gone + 1 end
if gone > 0 then redis.call('LTRIM', KEYS[1], gone, -1) end
return gone
