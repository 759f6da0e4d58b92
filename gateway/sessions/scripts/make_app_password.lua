-- An app password for the person behind a living session; one step, so that nothing that ends the person falls in between.
-- KEYS  sealed value, family, session that asks, its family, then index keys
-- ARGV  1 prefix   2 tenant   3 family   4 digest   5 sealed value   6 expires (s)   7 `began` of the session that asks
--       8 the user's aliases, the writing key's first   9 provider alias   10 display   11 sealed scope   12 how many a person may have
--      13 names under which something may stand against the person
-- Returns {'stored'}, {'gone'}, {'login_again'} or {'too_many'}.
local prefix, began, expires = ARGV[1], tonumber(ARGV[7]), tonumber(ARGV[6])
local unrestored = demand_restored(prefix)
if unrestored then return unrestored end
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('HGET', KEYS[4], 't') ~= ARGV[2] or stands_against(prefix, ARGV[13], began) then return {'gone'} end

-- The last login may have been under another key of the ring.
local newest, user, names = 0, '', ''
for alias in string.gmatch(ARGV[8], '%S+') do
  local login = redis.call('HMGET', prefix .. 'k:' .. alias, 'w', 'g', 'a')
  if login[1] and tonumber(login[1]) > newest then newest, user, names = tonumber(login[1]), login[2] and alias or '', login[3] end
end
if user == '' then return {'login_again'} end
if stands_against(prefix, names, began) then return {'gone'} end

-- A repeated call whose first answer was lost; WAIT speaks of a connection's own writes.
if redis.call('HGET', KEYS[2], 'm:' .. ARGV[4]) then
  tick(prefix .. 'c:' .. ARGV[2])
  return {'stored'}
end

local count = 0
for alias in string.gmatch(ARGV[8], '%S+') do count = count + #app_passwords(prefix, prefix .. 'i:' .. alias) end
if count >= tonumber(ARGV[12]) then return {'too_many'} end

redis.call('HSET', KEYS[2], 't', ARGV[2], 'w', ARGV[7], 'e', ARGV[6], 'u', user, 'v', ARGV[9], 'd', ARGV[10], 'p', ARGV[11], 'm:' .. ARGV[4], '')
redis.call('EXPIREAT', KEYS[2], expires)
for i = 5, #KEYS do enter(KEYS[i], ARGV[3], expires) end
for name in string.gmatch(names, '%S+') do enter(prefix .. 'i:' .. name, ARGV[3], expires) end
redis.call('SET', KEYS[1], ARGV[5], 'EXAT', expires)
return {'stored'}
