-- One family, by its id. KEYS: family. ARGV: prefix, family. Returns {tenant, absolute limit, sealed display, sealed scope of an app password or '', its last use (s) or '', now (s), when it idles out (s), host, ...} or nothing when it has ended.
local known = redis.call('HMGET', KEYS[1], 't', 'e', 'd', 'p', 'y')
local digests, hosts = members(ARGV[1], ARGV[2])
local now_ms = now_us() / 1000
local there, last = living(ARGV[1], digests, hosts, now_ms)
if not known[1] or #there == 0 then return false end
return {known[1], known[2], known[3], known[4] or '', known[5] or '', text(now_ms / 1000), text(last / 1000), unpack(there)}
