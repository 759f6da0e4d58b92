-- Cognito has answered for the refresh token that was asked about; one that was replaced or ended meanwhile is none of ours.
-- KEYS: family. ARGV: 1 the sealed refresh token that was asked about   2 its successor ('' none)   3 'refused' or ''   4 prefix   5 family   6 tenant
-- Returns the sessions that ended, -1 when it is another token's business.
go_on_when_full()
if redis.call('HGET', KEYS[1], 'r') ~= ARGV[1] then
  tick(ARGV[4] .. 'c:' .. ARGV[6])  -- as in logout
  return -1
end
if ARGV[3] == 'refused' then
  local ended, user = {}, redis.call('HGET', KEYS[1], 'u')
  end_family(ARGV[4], ARGV[5], ended)
  -- Cognito knows the person no more; their app passwords have nobody else who would ask.
  for _, password in ipairs(app_passwords(ARGV[4], ARGV[4] .. 'i:' .. user)) do end_family(ARGV[4], password, ended) end
  push(ARGV[4], ended)
  return #ended
end
redis.call('HSET', KEYS[1], 'k', text(now_us() / 1000000))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'r', ARGV[2]) end
redis.call('HDEL', KEYS[1], 'l')
return 0
