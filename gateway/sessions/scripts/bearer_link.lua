-- Whether anything stands against a token of a person, by what their last login left here.
-- KEYS the person's link records, one for each key of the ring. ARGV: prefix, auth_time of the token (s), margin (s), life of a mark (s).
-- Returns {marker, number of the record's key, sealed record, 1 if a name of it is another person's by now, else 0},
-- or {marker} where there is none or something stands against it.
local unrestored, server = demand_restored(ARGV[1])
if unrestored then return unrestored end
local marker, auth_time = believed(ARGV[1], server), tonumber(ARGV[2])
-- A mark that is older than this may have expired, so nobody could say any more what stood against such a token.
if (now_us() / 1000000) - auth_time > tonumber(ARGV[4]) then return {marker} end
local newest, number, names, sealed = -1, 0, '', ''
for i = 1, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 'w', 'a', 'd')
  if record[1] and tonumber(record[1]) > newest then
    newest, number, names, sealed = tonumber(record[1]), i, record[2], record[3]
  end
end
if number == 0 then return {marker} end
local own, others = {}, 0
for i = 1, #KEYS do own[string.sub(KEYS[i], #ARGV[1] + 3)] = true end
for name in string.gmatch(names, '%S+') do
  local mark = redis.call('HMGET', ARGV[1] .. 'w:' .. name, 'w', 'b')
  if mark[2] then return {marker} end
  -- Cognito's clock is not ours, and counts whole seconds: what is not clearly later does not count.
  if mark[1] and tonumber(mark[1]) / 1000000 >= auth_time - tonumber(ARGV[3]) then return {marker} end
  local holder = redis.call('GET', ARGV[1] .. 'n:' .. name)
  if holder and not own[holder] then others = 1 end
end
return {marker, number, sealed, others}
