-- Which keys a process reads with. KEYS: the table of all processes. ARGV: process ('' only to look), key ids, how long a word counts (s), kid.
-- Returns the processes that spoke lately and do not read with `kid`, after the number of those that spoke.
local now = now_us() / 1000000
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], text(now) .. ' ' .. ARGV[2] .. ' ')
  redis.call('EXPIRE', KEYS[1], 86400)
end
local without, count = {}, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, kids = string.match(all[i + 1], '^(%d+)( .*)$')
  if now - tonumber(at) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    count = count + 1
    if not string.find(kids, ' ' .. ARGV[4] .. ' ', 1, true) then without[#without + 1] = all[i] end
  end
end
return {count, unpack(without)}
