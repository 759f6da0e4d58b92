-- A login becomes a session, or is refused; one step, so that no revocation falls between the question and the answer.
--
-- KEYS  session, family, then n_index index keys (the user's first), n_marks keys of watermarks and blocks, n_overlays keys of overlays
-- ARGV  1 prefix          2 n_index        3 n_marks         4 n_overlays
--       5 family          6 digest         7 host            8 sealed session     9 idle (ms)      10 absolute limit (s)
--      11 began          12 auth_time     13 '1' where evidence of a fresh login is lacking       14 how long it is demanded (us)
--      15 parent's digest, for a child    16 overlay as the caller knew it       17 overlay fields to lift: "<n> <field>" by line
--      18 families allowed  19 tenant     20 user alias      21 provider alias    22 display       23 refresh token (sealed)
--      24 server that gave `began` ('' for a child: its family is here or nowhere)
--      25 the user's aliases under the other keys of the ring
--      26 names that a link record lists, 27 sealed link record ('' for a child), 28 its life (s)
--      29 the identity provider's time that this login shows (s; '' for a child, and where it is not mapped)
--      30 names that lead to the person's last login, space-separated   31 sealed display of it ('' for a child)
--      32 sealed identity, as whom app passwords of this person arrive from now on ('' where none are taken)
-- Returns {'stored'}, {'gone'} (a child whose family has ended), {'overlay', text}, or {reason}.
local prefix, n_index, n_marks, n_overlays = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local session, family_key, family, digest = KEYS[1], KEYS[2], ARGV[5], ARGV[6]
local limit, began, auth_time = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local parent = ARGV[15]
local now = now_us()
local unrestored, server = demand_restored(prefix)
if unrestored then return unrestored end
if ARGV[24] ~= '' and ARGV[24] ~= server then return {'login_state'} end

if parent ~= '' and (redis.call('EXISTS', prefix .. 's:' .. parent) == 0 or redis.call('HGET', family_key, 't') ~= ARGV[19]) then
  return {'gone'}
end

local latest = 0
for i = 3 + n_index, 2 + n_index + n_marks do
  local mark = redis.call('HMGET', KEYS[i], 'w', 'b')
  if mark[2] then return {'user_blocked'} end
  latest = math.max(latest, tonumber(mark[1] or '0'))
end
if latest > 0 then
  if latest >= began then return {'session_revoked'} end
  -- Cognito's clock is not ours: only what is clearly older counts.
  if auth_time + 5 < latest / 1000000 then return {'reauthenticate'} end
  if began - latest < tonumber(ARGV[14]) then
    if ARGV[13] == '1' then return {'reauthenticate'} end
    -- Cognito keeps that time by person, not by browser: what another login has shown since then proves nothing about this one,
    -- unless both signed in at Cognito in that very second.
    for user in string.gmatch(ARGV[20] .. ' ' .. ARGV[25], '%S+') do
      local shown = redis.call('HMGET', prefix .. 'k:' .. user, 'i', 'j')
      local asked = tonumber(ARGV[29])
      if asked and shown[1] and tonumber(shown[2]) > latest then
        if tonumber(shown[1]) > asked or (tonumber(shown[1]) == asked and math.abs(auth_time - asked) > 1) then return {'reauthenticate'} end
      end
    end
  end
end

local found, first_overlay = {}, 2 + n_index + n_marks
for i = 1, n_overlays do
  local fields = redis.call('HGETALL', KEYS[first_overlay + i])
  for j = 1, #fields, 2 do
    found[#found + 1] = i .. ' ' .. fields[j] .. ' ' .. fields[j + 1]
  end
end
table.sort(found)
local overlay = table.concat(found, '\n')
if overlay ~= ARGV[16] then return {'overlay', overlay} end
for n, field in string.gmatch(ARGV[17], '(%d+) (%S+)') do
  redis.call('HDEL', KEYS[first_overlay + tonumber(n)], field)
end

local expires_ms = math.min(now / 1000 + tonumber(ARGV[9]), limit * 1000)
if expires_ms <= now / 1000 then return {'session_expired'} end

if parent == '' then
  -- Families that idled out are no families; of the others the oldest make room. While keys rotate, a person is indexed under each.
  local families, passwords, ended = {}, {}, {}
  local function count(index)
    for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
      if other ~= family then
        local digests = members(prefix, other)
        if redis.call('HEXISTS', prefix .. 'f:' .. other, 'p') == 1 then
          passwords[other] = digests
        elseif alive(prefix, digests) then
          families[#families + 1] = {tonumber(redis.call('HGET', prefix .. 'f:' .. other, 'w')), other, index}
        else
          redis.call('DEL', prefix .. 'f:' .. other)
          redis.call('ZREM', index, other)
        end
      end
    end
  end
  count(KEYS[3])
  for user in string.gmatch(ARGV[25], '%S+') do count(prefix .. 'i:' .. user) end
  table.sort(families, function(a, b) return a[1] < b[1] end)
  for i = 1, #families - tonumber(ARGV[18]) + 1 do
    end_family(prefix, families[i][2], ended)
    redis.call('ZREM', families[i][3], families[i][2])
  end
  push(prefix, ended)
  redis.call('HSET', family_key, 't', ARGV[19], 'w', ARGV[11], 'e', ARGV[10], 'u', ARGV[20], 'v', ARGV[21], 'd', ARGV[22], 'm:' .. digest, ARGV[7])
  if ARGV[23] ~= '' then redis.call('HSET', family_key, 'r', ARGV[23]) end
  redis.call('EXPIREAT', family_key, limit)
  local link = prefix .. 'k:' .. ARGV[20]
  if tonumber(redis.call('HGET', link, 'w') or '0') < began then
    redis.call('HSET', link, 'w', ARGV[11], 'a', ARGV[26], 'd', ARGV[27])
    redis.call('EXPIRE', link, ARGV[28])
    redis.call('HSET', link, 's', ARGV[31])
    if ARGV[32] == '' then redis.call('HDEL', link, 'g') else redis.call('HSET', link, 'g', ARGV[32]) end
    -- App passwords arrive as this login says: under its names, and out of every memory.
    local renewed = {}
    for other, digests in pairs(passwords) do
      local ends = tonumber(redis.call('HGET', prefix .. 'f:' .. other, 'e'))
      redis.call('HSET', prefix .. 'f:' .. other, 'u', ARGV[20], 'v', ARGV[21])
      for i = 3, 2 + n_index do enter(KEYS[i], other, ends) end
      for _, password in ipairs(digests) do renewed[#renewed + 1] = password end
    end
    push(prefix, renewed)
    for name in string.gmatch(ARGV[30], '%S+') do redis.call('SET', prefix .. 'n:' .. name, ARGV[20], 'EX', ARGV[28]) end
  end
  if ARGV[29] ~= '' then
    local shown = redis.call('HMGET', link, 'i', 'j')
    local time, by = tonumber(shown[1] or '0'), tonumber(shown[2] or '0')
    if tonumber(ARGV[29]) > time or (tonumber(ARGV[29]) == time and began > by) then redis.call('HSET', link, 'i', ARGV[29], 'j', ARGV[11]) end
  end
else
  -- A host that is visited again leaves a dead member behind. Of more living ones than a browser needs, those that were used the longest
  -- ago make room (a use renews the time to live): their hosts hand over again, unseen, when they are next visited. The parent stays.
  local children, ended = {}, {}
  for _, other in ipairs((members(prefix, family))) do
    local left = redis.call('PTTL', prefix .. 's:' .. other)
    if left < 0 then
      redis.call('HDEL', family_key, 'm:' .. other)
    elseif other ~= parent then
      children[#children + 1] = {left, other}
    end
  end
  table.sort(children, function(a, b) return a[1] < b[1] end)
  for i = 1, #children - 255 do
    local other = children[i][2]
    redis.call('DEL', prefix .. 's:' .. other)
    redis.call('HDEL', family_key, 'm:' .. other)
    ended[#ended + 1] = other
  end
  push(prefix, ended)
  redis.call('HSET', family_key, 'm:' .. digest, ARGV[7])
end

for i = 3, 2 + n_index do enter(KEYS[i], family, limit) end
redis.call('SET', session, ARGV[8], 'PXAT', text(expires_ms))
return {'stored'}
