-- More sessions like one that the shipped login made: the same records and index entries, under names of their own.
-- ARGV: 1 prefix  2 family  3 digest  4 first number  5 last number  6 index aliases of the person, the user's first  7 index aliases that many share
local at, family, digest = ARGV[1], ARGV[2], ARGV[3]
local personal, shared = {}, {}
for alias in string.gmatch(ARGV[6], '%S+') do personal[#personal + 1] = alias end
for alias in string.gmatch(ARGV[7], '%S+') do shared[#shared + 1] = alias end
local session, session_ends = redis.call('GET', at .. 's:' .. digest), redis.call('PEXPIRETIME', at .. 's:' .. digest)
local members, family_ends = redis.call('HGETALL', at .. 'f:' .. family), redis.call('EXPIRETIME', at .. 'f:' .. family)
local link, link_ends = redis.call('HGETALL', at .. 'k:' .. personal[1]), redis.call('EXPIRETIME', at .. 'k:' .. personal[1])
for n = tonumber(ARGV[4]), tonumber(ARGV[5]) do
  local seed = at .. family .. n
  local first, second = redis.sha1hex(seed), redis.sha1hex(seed .. '.')
  local own, own_digest = string.sub(family, 1, 3) .. string.sub(first, 1, 22), string.sub(second, 1, 32)
  local user
  for i = 1, #personal do
    local alias = string.sub(redis.sha1hex(seed .. ' ' .. i), 1, 22)
    user = user or alias
    redis.call('ZADD', at .. 'i:' .. alias, family_ends, own)
    redis.call('EXPIREAT', at .. 'i:' .. alias, family_ends)
    if redis.call('EXISTS', at .. 'n:' .. personal[i]) == 1 then redis.call('SET', at .. 'n:' .. alias, user, 'EXAT', link_ends) end
  end
  for i = 1, #shared do redis.call('ZADD', at .. 'i:' .. shared[i], family_ends, own) end
  local copied = {}
  for i = 1, #members, 2 do
    copied[i], copied[i + 1] = members[i], members[i + 1]
    if members[i] == 'm:' .. digest then copied[i] = 'm:' .. own_digest end
    if members[i] == 'u' then copied[i + 1] = user end
  end
  redis.call('SET', at .. 's:' .. own_digest, session, 'PXAT', session_ends)
  redis.call('HSET', at .. 'f:' .. own, unpack(copied))
  redis.call('EXPIREAT', at .. 'f:' .. own, family_ends)
  redis.call('HSET', at .. 'k:' .. user, unpack(link))
  redis.call('EXPIREAT', at .. 'k:' .. user, link_ends)
end
return redis.status_reply('OK')
