-- A login becomes a session, or is refused; one step, so that no revocation falls between the question and the answer.
--
-- KEYS  session, family, then n_index index keys (the user's first), n_marks keys of watermarks and blocks, n_overlays keys of overlays
-- ARGV  `FinishLoginArgs` of session_writer.py: `args` and a field's name stand for its place
-- Returns {'stored'}, {'gone'} (a child whose family has ended), {'overlay', text}, or {reason}.
local prefix, n_index, n_marks, n_overlays = args.prefix, tonumber(args.n_index), tonumber(args.n_marks), tonumber(args.n_overlays)
local session, family_key, family, digest = KEYS[1], KEYS[2], args.family, args.digest
local limit, began, auth_time = tonumber(args.expires_at), tonumber(args.began), tonumber(args.auth_time)
local parent = args.parent
local now = now_us()
local unrestored, server = demand_restored(prefix)
if unrestored then return unrestored end
if args.server ~= '' and args.server ~= server then return {'login_state'} end

if parent ~= '' and (redis.call('EXISTS', prefix .. 's:' .. parent) == 0 or redis.call('HGET', family_key, 't') ~= args.tenant) then
  return {'gone'}
end

local blocked, latest = standing(KEYS, 2 + n_index, n_marks)
if blocked then return {'user_blocked'} end
if latest > 0 then
  if latest >= began then return {'session_revoked'} end
  -- Cognito's clock is not ours: only what is clearly older counts.
  if auth_time + 5 < latest / 1000000 then return {'reauthenticate'} end
  if began - latest < tonumber(args.freshness_us) then
    if args.stale == '1' then return {'reauthenticate'} end
    -- Cognito keeps that time by person, not by browser: what another login has shown since then proves nothing about this one,
    -- unless both signed in at Cognito in that very second.
    for user in string.gmatch(args.user .. ' ' .. args.other_users, '%S+') do
      local shown = redis.call('HMGET', prefix .. 'k:' .. user, 'i', 'j')
      local asked = tonumber(args.idp_iat)
      if asked and shown[1] and tonumber(shown[2]) > latest then
        if tonumber(shown[1]) > asked or (tonumber(shown[1]) == asked and math.abs(auth_time - asked) > 1) then return {'reauthenticate'} end
      end
    end
  end
end

local first_overlay = 2 + n_index + n_marks
local overlay = overlays_of(KEYS, first_overlay, n_overlays)
if overlay ~= args.overlay then return {'overlay', overlay} end
for n, field in string.gmatch(args.lifted, '(%d+) (%S+)') do
  redis.call('HDEL', KEYS[first_overlay + tonumber(n)], field)
end

local expires_ms = math.min(now / 1000 + tonumber(args.idle_ms), limit * 1000)
if expires_ms <= now / 1000 then return {'session_expired'} end

if parent == '' then
  -- Families that idled out are no families; of the others the oldest make room. While keys rotate, a person is indexed under each.
  local families, passwords, ended = {}, {}, {}
  local function count(index)
    for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
      if other ~= family then
        local digests = members(prefix, other)
        local kind = redis.call('HMGET', prefix .. 'f:' .. other, 'p', 'q')
        if kind[1] then
          passwords[other] = digests
        elseif kind[2] then
          -- A password of the pool, for the rest of its minute.
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
  for user in string.gmatch(args.other_users, '%S+') do count(prefix .. 'i:' .. user) end
  table.sort(families, function(a, b) return a[1] < b[1] end)
  for i = 1, #families - tonumber(args.max_families) + 1 do
    end_family(prefix, families[i][2], ended)
    redis.call('ZREM', families[i][3], families[i][2])
  end
  push(prefix, ended)
  redis.call('HSET', family_key, 't', args.tenant, 'w', args.began, 'e', args.expires_at, 'u', args.user, 'v', args.provider, 'd', args.display, 'm:' .. digest, args.host)
  if args.refresh_token ~= '' then redis.call('HSET', family_key, 'r', args.refresh_token) end
  redis.call('EXPIREAT', family_key, limit)
  local link = prefix .. 'k:' .. args.user
  if tonumber(redis.call('HGET', link, 'w') or '0') < began then
    redis.call('HSET', link, 'w', args.began, 'a', args.link_names, 'd', args.link_record)
    redis.call('EXPIRE', link, args.link_life_s)
    redis.call('HSET', link, 's', args.last_login)
    if args.app_password_identity == '' then redis.call('HDEL', link, 'g') else redis.call('HSET', link, 'g', args.app_password_identity) end
    -- App passwords arrive as this login says: under its names, and out of every memory.
    local renewed = {}
    for other, digests in pairs(passwords) do
      local ends = tonumber(redis.call('HGET', prefix .. 'f:' .. other, 'e'))
      redis.call('HSET', prefix .. 'f:' .. other, 'u', args.user, 'v', args.provider)
      for i = 3, 2 + n_index do enter(KEYS[i], other, ends) end
      for _, password in ipairs(digests) do renewed[#renewed + 1] = password end
    end
    push(prefix, renewed)
    for name in string.gmatch(args.last_login_names, '%S+') do redis.call('SET', prefix .. 'n:' .. name, args.user, 'EX', args.link_life_s) end
  end
  if args.idp_iat ~= '' then
    local shown = redis.call('HMGET', link, 'i', 'j')
    local time, by = tonumber(shown[1] or '0'), tonumber(shown[2] or '0')
    if tonumber(args.idp_iat) > time or (tonumber(args.idp_iat) == time and began > by) then redis.call('HSET', link, 'i', args.idp_iat, 'j', args.began) end
  end
  -- For whoever has SQL. Where nobody reads it, it does not grow for ever.
  local told = prefix .. 'v'
  if redis.call('LLEN', told) < tonumber(args.sign_ins_at_most) then
    redis.call('RPUSH', told, args.sign_in)
    redis.call('EXPIRE', told, args.sign_ins_life_s)
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
  redis.call('HSET', family_key, 'm:' .. digest, args.host)
  -- The hand-over is a use of the parent too, as a touch of the child would say; it never shortens.
  local at = prefix .. 's:' .. parent
  if redis.call('PTTL', at) < expires_ms - now / 1000 then redis.call('PEXPIREAT', at, text(expires_ms)) end
end

for i = 3, 2 + n_index do enter(KEYS[i], family, limit) end
redis.call('SET', session, args.value, 'PXAT', text(expires_ms))
return {'stored'}
