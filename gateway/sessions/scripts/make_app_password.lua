-- An app password for the person behind a living session; one step, so that nothing that ends the person falls in between.
-- KEYS  sealed value, family, session that asks, its family, then index keys
-- ARGV  `MakeAppPasswordArgs` of app_passwords.py: `args` and a field's name stand for its place
-- Returns {'stored'}, {'gone'}, {'login_again'} or {'too_many'}.
local prefix, began, expires = args.prefix, tonumber(args.began), tonumber(args.expires_at)
local unrestored = demand_restored(prefix)
if unrestored then return unrestored end
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('HGET', KEYS[4], 't') ~= args.tenant or stands_against(prefix, args.names, began) then return {'gone'} end

-- The last login may have been under another key of the ring.
local newest, user, names = 0, '', ''
for alias in string.gmatch(args.users, '%S+') do
  local login = redis.call('HMGET', prefix .. 'k:' .. alias, 'w', 'g', 'a')
  if login[1] and tonumber(login[1]) > newest then newest, user, names = tonumber(login[1]), login[2] and alias or '', login[3] end
end
if user == '' then return {'login_again'} end
if stands_against(prefix, names, began) then return {'gone'} end

-- A repeated call whose first answer was lost; WAIT speaks of a connection's own writes.
if redis.call('HGET', KEYS[2], 'm:' .. args.digest) then
  tick(prefix .. 'c:' .. args.tenant)
  return {'stored'}
end

local count = 0
for alias in string.gmatch(args.users, '%S+') do count = count + #app_passwords(prefix, prefix .. 'i:' .. alias) end
if count >= tonumber(args.max_per_user) then return {'too_many'} end

redis.call('HSET', KEYS[2], 't', args.tenant, 'w', args.began, 'e', args.expires_at, 'u', user, 'v', args.provider, 'd', args.display, 'p', args.scope, 'm:' .. args.digest, '')
redis.call('EXPIREAT', KEYS[2], expires)
for i = 5, #KEYS do enter(KEYS[i], args.family, expires) end
for name in string.gmatch(names, '%S+') do enter(prefix .. 'i:' .. name, args.family, expires) end
redis.call('SET', KEYS[1], args.value, 'EXAT', expires)
return {'stored'}
