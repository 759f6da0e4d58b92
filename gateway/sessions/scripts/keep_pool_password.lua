-- Cognito knows a name and a password: for a minute its answer is a session of no host, a family of its own. One step, as a login is.
-- KEYS  session, family, then n_index index keys, n_marks keys of watermarks and blocks, n_overlays keys of overlays
-- ARGV  `KeepPoolPasswordArgs` of pool_passwords.py: `args` and a field's name stand for its place
-- Returns {'stored'}, {'overlay', text}, or {reason}.
local n_index, n_marks, n_overlays, began = tonumber(args.n_index), tonumber(args.n_marks), tonumber(args.n_overlays), tonumber(args.began)
local unrestored, server = demand_restored(args.prefix)
if unrestored then return unrestored end
if args.server ~= server then return redis.error_reply('UNRESTORED another primary took over while Cognito answered') end

local blocked, latest = standing(KEYS, 2 + n_index, n_marks)
if blocked then return {'user_blocked'} end
if latest >= began then return {'session_revoked'} end
local overlay = overlays_of(KEYS, 2 + n_index + n_marks, n_overlays)
if overlay ~= args.overlay then return {'overlay', overlay} end
for n, field in string.gmatch(args.lifted, '(%d+) (%S+)') do
  redis.call('HDEL', KEYS[2 + n_index + n_marks + tonumber(n)], field)
end

-- 'q' tells it from a session of a browser: it counts towards no limit, and is in no list.
redis.call('HSET', KEYS[2], 't', args.tenant, 'w', args.began, 'e', args.expires_at, 'u', args.user, 'v', args.provider, 'd', args.display, 'q', '1', 'm:' .. args.digest, '')
redis.call('EXPIREAT', KEYS[2], args.expires_at)
for i = 3, 2 + n_index do enter(KEYS[i], args.family, tonumber(args.expires_at)) end
redis.call('SET', KEYS[1], args.value, 'EXAT', args.expires_at)
return {'stored'}
