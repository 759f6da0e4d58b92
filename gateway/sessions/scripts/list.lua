-- Living families of one index entry. KEYS: index. ARGV: prefix, tenant, offset, limit.
-- Returns {index size, {family, absolute limit, sealed display, sealed scope of an app password or '', its last use (s) or '', host, host, ...}, ...}.
local rows = {redis.call('ZCARD', KEYS[1])}
for _, family in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1)) do
  local known = redis.call('HMGET', ARGV[1] .. 'f:' .. family, 't', 'e', 'd', 'p', 'y', 'q')
  local digests, hosts = members(ARGV[1], family)
  if known[1] == ARGV[2] and not known[6] and alive(ARGV[1], digests) then
    local row = {family, known[2], known[3], known[4] or '', known[5] or ''}
    for i, digest in ipairs(digests) do
      if redis.call('EXISTS', ARGV[1] .. 's:' .. digest) == 1 then row[#row + 1] = hosts[i] end
    end
    rows[#rows + 1] = row
  end
end
return rows
