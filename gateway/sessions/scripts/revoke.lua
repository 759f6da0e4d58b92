-- Revoke: write what is refused from now on, end what is indexed, tell the caches; one step for a person, several for a large tenant.
--
-- KEYS  clock, then n_marks keys of watermarks and blocks, n_overlays keys of overlays, then index keys
-- ARGV  `RevokeArgs` of watermarks.py: `args` and a field's name stand for its place
-- Returns {watermark, cursors ('' when done), sessions ended, which server this is, {family, sealed display}, ...}
go_on_when_full()
local prefix, tenant, n_marks, n_overlays = args.prefix, args.tenant, tonumber(args.n_marks), tonumber(args.n_overlays)
local watermark = tonumber(args.watermark)
if watermark == nil then watermark = tick(KEYS[1]) end

local function put_source(list, source)
  if string.find(list, ',' .. source .. ',', 1, true) then return list end
  return (list == '' and ',' or list) .. source .. ','
end

for i = 2, 1 + n_marks do
  local mark = redis.call('HMGET', KEYS[i], 'w', 'b')
  if tonumber(mark[1] or '0') < watermark then redis.call('HSET', KEYS[i], 'w', text(watermark)) end
  if args.block_source ~= '' then redis.call('HSET', KEYS[i], 'b', put_source(mark[2] or '', args.block_source)) end
  if args.block_source ~= '' or mark[2] then
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('EXPIRE', KEYS[i], args.watermark_life_s)
  end
end

local n = 1 + n_marks
for field in string.gmatch(args.fields, '%S+') do
  n = n + 1
  local known = tonumber(string.match(redis.call('HGET', KEYS[n], field) or '0:0', '^(%d+)'))
  local since = tonumber(args.overlay_watermark) or watermark
  if known < since then redis.call('HSET', KEYS[n], field, text(since) .. ':0') end
end

local ended, rows = {}, {}
local function try_family(family)
  local known = redis.call('HMGET', prefix .. 'f:' .. family, 't', 'w', 'v', 'd')
  if not known[1] then return true end
  if known[1] ~= tenant or tonumber(known[2]) > watermark then return false end
  if args.providers ~= '' and not string.find(' ' .. args.providers .. ' ', ' ' .. known[3] .. ' ', 1, true) then return false end
  end_family(prefix, family, ended)
  rows[#rows + 1] = {family, known[4]}
  return true
end

if args.family ~= '' then try_family(args.family) end

local cursors, open = {}, false
local i = 1 + n_marks + n_overlays
for cursor in string.gmatch(args.cursors, '%S+') do
  i = i + 1
  if cursor ~= '-' then
    local page = redis.call('ZSCAN', KEYS[i], cursor, 'COUNT', args.page)
    for j = 1, #page[2], 2 do
      if try_family(page[2][j]) then redis.call('ZREM', KEYS[i], page[2][j]) end
    end
    cursor = page[1] == '0' and '-' or page[1]
    open = open or cursor ~= '-'
  end
  cursors[#cursors + 1] = cursor
end
push(prefix, ended)
return {text(watermark), open and table.concat(cursors, ' ') or '', #ended, identity(), unpack(rows)}
