-- One process at a time asks Cognito about a family. KEYS: family. ARGV: tenant, interval (s), how long a claim holds (s).
-- Returns {'go', sealed refresh token} or {what stands in the way}.
local known = redis.call('HMGET', KEYS[1], 't', 'w', 'k', 'l', 'r')
if known[1] ~= ARGV[1] then return {'gone'} end
if not known[5] then return {'none'} end
local now = now_us() / 1000000
if now - tonumber(known[3] or tonumber(known[2]) / 1000000) < tonumber(ARGV[2]) then return {'fresh'} end
if known[4] and tonumber(known[4]) > now then return {'busy'} end
redis.call('HSET', KEYS[1], 'l', text(now + tonumber(ARGV[3])))
return {'go', known[5]}
