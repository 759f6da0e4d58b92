-- Shared by every script. All keys are of one bucket; `prefix` is "gw:{bbb}:".
local CHANNEL = 'gw:push'

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- A full store refuses the first write of a script that may need memory, and lets a script go on that has begun to write.
-- Ending sessions must work then too, so such scripts begin with a write that needs none.
local function go_on_when_full()
  redis.call('DEL', KEYS[1] .. ':none')
end

-- The tenant's clock: never back, never twice the same, whatever the server's own clock does.
local function tick(clock)
  local last = tonumber(redis.call('GET', clock) or '0')
  local now = now_us()
  if now <= last then now = last + 1 end
  redis.call('SET', clock, text(now))
  return now
end

-- Which server this is, as replication names it: another one after a restart, a fail-over or a promotion; '' on a replica.
local function identity()
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then return '' end
  return string.match(info, 'master_replid:(%x+)')
end

-- The bucket's marker, if it was written for this very server: then its data was brought up to the record. Else false.
local function believed(prefix, server)
  local marker = redis.call('GET', prefix .. 'm')
  if marker and server ~= '' and string.sub(marker, 3, 42) == server then return marker end
  return false
end

-- Logins need a primary whose data was brought up to the record; without one they are neither refused nor let in.
local function demand_restored(prefix)
  local server = identity()
  return not believed(prefix, server) and redis.error_reply('UNRESTORED the store was not yet restored from the record'), server
end

-- Append one event to the bucket's log and tell every replica. Events are numbered, so that nobody overlooks one.
local function event(prefix, words)
  local number = redis.call('INCR', prefix .. 'n')
  redis.call('RPUSH', prefix .. 'e', words)
  redis.call('LTRIM', prefix .. 'e', -256, -1)
  redis.call('PUBLISH', CHANNEL, string.sub(prefix, 5, 7) .. ' ' .. text(number) .. ' ' .. words)
  return number
end

-- Tell every cache, in the same step in which the sessions end. '*' is everything of the bucket.
local function push(prefix, digests)
  if #digests == 0 then return end
  event(prefix, #digests > 64 and '*' or table.concat(digests, ' '))
end

-- Members of a family as two lists: digests, hosts. Empty when the family is gone.
local function members(prefix, family)
  local digests, hosts = {}, {}
  local fields = redis.call('HGETALL', prefix .. 'f:' .. family)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'm:' then
      digests[#digests + 1] = string.sub(fields[i], 3)
      hosts[#hosts + 1] = fields[i + 1]
    end
  end
  return digests, hosts
end

-- Whether the list holds `text`, looked for from place `first` (default: 1) on.
local function has(list, text, first)
  for i = first or 1, #list do
    if list[i] == text then return true end
  end
  return false
end

local function alive(prefix, digests)
  for _, digest in ipairs(digests) do
    if redis.call('EXISTS', prefix .. 's:' .. digest) == 1 then return true end
  end
  return false
end

-- The hosts of a family's sessions that could be used now, and when the last of them idles out (ms).
local function living(prefix, digests, hosts, now_ms)
  local there, last = {}, 0
  for i, digest in ipairs(digests) do
    local left = redis.call('PTTL', prefix .. 's:' .. digest)
    if left ~= -2 then
      there[#there + 1] = hosts[i]
      last = math.max(last, now_ms + left)
    end
  end
  return there, last
end

-- Delete a family and all its sessions; their digests are appended to `ended`. Index entries that are left point nowhere and expire.
local function end_family(prefix, family, ended)
  for _, digest in ipairs((members(prefix, family))) do
    redis.call('DEL', prefix .. 's:' .. digest)
    ended[#ended + 1] = digest
  end
  redis.call('DEL', prefix .. 'f:' .. family)
end

-- Whether one of these names (space-separated) is blocked, or was revoked at or after `began`.
local function stands_against(prefix, names, began)
  for name in string.gmatch(names, '%S+') do
    local mark = redis.call('HMGET', prefix .. 'w:' .. name, 'w', 'b')
    if mark[2] or (mark[1] and tonumber(mark[1]) >= began) then return true end
  end
  return false
end

-- What stands at the `n` keys after place `first`: whether a block does, and the latest watermark.
local function standing(keys, first, n)
  local blocked, latest = false, 0
  for i = first + 1, first + n do
    local mark = redis.call('HMGET', keys[i], 'w', 'b')
    blocked = blocked or (mark[2] and true or false)
    latest = math.max(latest, tonumber(mark[1] or '0'))
  end
  return blocked, latest
end

-- The overlays at the `n` keys after place `first`, as text: '<number> <field> <times>' by line.
local function overlays_of(keys, first, n)
  local found = {}
  for i = 1, n do
    local fields = redis.call('HGETALL', keys[first + i])
    for j = 1, #fields, 2 do
      found[#found + 1] = i .. ' ' .. fields[j] .. ' ' .. fields[j + 1]
    end
  end
  table.sort(found)
  return table.concat(found, '\n')
end

-- Living app passwords of one index entry: {family, ...}.
local function app_passwords(prefix, index)
  local found = {}
  for _, family in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    if redis.call('HEXISTS', prefix .. 'f:' .. family, 'p') == 1 then found[#found + 1] = family end
  end
  return found
end

-- Enter a family into an index, until its absolute limit (s).
local function enter(index, family, limit)
  local now = now_us() / 1000000
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. text(now))
  redis.call('ZADD', index, limit, family)
  if redis.call('TTL', index) < limit - now then redis.call('EXPIREAT', index, limit) end
end
