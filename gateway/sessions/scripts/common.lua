-- Shared by every script. All keys are of one bucket; `prefix` is "gw:{bbb}:".
local CHANNEL = 'gw:push'

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- The tenant's clock: never back, never twice the same, whatever the server's own clock does.
local function tick(clock)
  local last = tonumber(redis.call('GET', clock) or '0')
  local now = now_us()
  if now <= last then now = last + 1 end
  redis.call('SET', clock, text(now))
  return now
end

-- Tell every cache, in the same step in which the sessions end.
local function push(prefix, digests)
  local bucket = string.sub(prefix, 5, 7)
  for first = 1, #digests, 500 do
    redis.call('PUBLISH', CHANNEL, bucket .. ' ' .. table.concat(digests, ' ', first, math.min(first + 499, #digests)))
  end
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

local function alive(prefix, digests)
  for _, digest in ipairs(digests) do
    if redis.call('EXISTS', prefix .. 's:' .. digest) == 1 then return true end
  end
  return false
end

-- Delete a family and all its sessions; their digests are appended to `ended`. Index entries that are left point nowhere and expire.
local function end_family(prefix, family, ended)
  for _, digest in ipairs((members(prefix, family))) do
    redis.call('DEL', prefix .. 's:' .. digest)
    ended[#ended + 1] = digest
  end
  redis.call('DEL', prefix .. 'f:' .. family)
end
