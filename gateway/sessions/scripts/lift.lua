-- Lift a block or overlay. What was begun before is refused, and what comes soon after shows that it asked the identity provider.
-- KEYS  clock, then n_marks keys of blocks, then keys of overlays
-- ARGV  1 n_marks   2 sources whose block goes, space-separated ('*' all)   3 life of a watermark (s)   4 fields of the overlays
-- Returns {clock, blocks that stood, overlay entries that stood, which server this is}
go_on_when_full()
local n_marks, lifted, given_back = tonumber(ARGV[1]), 0, 0
local now = tick(KEYS[1])
for i = 2, 1 + n_marks do
  local list = redis.call('HGET', KEYS[i], 'b')
  if list then
    local left = ','
    if ARGV[2] ~= '*' then
      for source in string.gmatch(list, '[^,]+') do
        if not string.find(' ' .. ARGV[2] .. ' ', ' ' .. source .. ' ', 1, true) then left = left .. source .. ',' end
      end
    end
    if left ~= list then lifted = lifted + 1 end
    if left == ',' then
      redis.call('HDEL', KEYS[i], 'b')
      redis.call('HSET', KEYS[i], 'w', text(now))
      redis.call('EXPIRE', KEYS[i], ARGV[3])
    else
      redis.call('HSET', KEYS[i], 'b', left)
    end
  end
end
local n = 1 + n_marks
for field in string.gmatch(ARGV[4], '%S+') do
  n = n + 1
  given_back = given_back + redis.call('HDEL', KEYS[n], field)
end
return {text(now), lifted, given_back, identity()}
