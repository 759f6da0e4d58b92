-- One family, by its id. KEYS: family. ARGV: prefix, family. Returns {tenant, absolute limit, sealed display, sealed scope of an app password or '', its last use (s) or '', host, ...} or nothing when it has ended.
local known = redis.call('HMGET', KEYS[1], 't', 'e', 'd', 'p', 'y')
local digests, hosts = members(ARGV[1], ARGV[2])
if not known[1] or not alive(ARGV[1], digests) then return false end
local row = {known[1], known[2], known[3], known[4] or '', known[5] or ''}
for i, digest in ipairs(digests) do
  if redis.call('EXISTS', ARGV[1] .. 's:' .. digest) == 1 then row[#row + 1] = hosts[i] end
end
return row
