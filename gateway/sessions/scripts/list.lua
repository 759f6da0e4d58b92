-- Living families of one index entry. KEYS: index. ARGV: prefix, tenant, offset, limit.
-- Returns {index size, {family, absolute limit, sealed display, sealed scope of an app password or '', its last use (s) or '', now (s), when it idles out (s), host, host, ...}, ...}.
local rows, now_ms = {redis.call('ZCARD', KEYS[1])}, now_us() / 1000
for _, family in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1)) do
  local known = redis.call('HMGET', ARGV[1] .. 'f:' .. family, 't', 'e', 'd', 'p', 'y', 'q')
  if known[1] == ARGV[2] and not known[6] then
    local digests, hosts = members(ARGV[1], family)
    local there, last = living(ARGV[1], digests, hosts, now_ms)
    if #there > 0 then
      rows[#rows + 1] = {family, known[2], known[3], known[4] or '', known[5] or '', text(now_ms / 1000), text(last / 1000), unpack(there)}
    end
  end
end
return rows
