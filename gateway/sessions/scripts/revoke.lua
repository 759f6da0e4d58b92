-- Revoke: write what is refused from now on, end what is indexed, tell the caches; one step for a person, several for a large tenant.
--
-- KEYS  clock, then n_marks keys of watermarks and blocks, n_overlays keys of overlays, then index keys
-- ARGV  1 prefix      2 tenant       3 n_marks      4 n_overlays
--       5 watermark ('' now; else as first given: a sweep that goes on, a revocation restored after a fail-over)
--       6 source of a block ('' none)   7 life of a watermark (s)   8 fields of the overlays, space-separated, one per overlay key
--       9 aliases of the provider that is meant, space-separated ('' any)   10 a single family ('' none)   11 entries by step
--      12 cursors of the index keys, space-separated   13 watermark of the overlays ('' the same)
-- Returns {watermark, cursors ('' when done), sessions ended, which server this is, {family, sealed display}, ...}
go_on_when_full()
local prefix, tenant, n_marks, n_overlays = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local watermark = tonumber(ARGV[5])
if watermark == nil then watermark = tick(KEYS[1]) end

local function put_source(list, source)
  if string.find(list, ',' .. source .. ',', 1, true) then return list end
  return (list == '' and ',' or list) .. source .. ','
end

for i = 2, 1 + n_marks do
  local mark = redis.call('HMGET', KEYS[i], 'w', 'b')
  if tonumber(mark[1] or '0') < watermark then redis.call('HSET', KEYS[i], 'w', text(watermark)) end
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[i], 'b', put_source(mark[2] or '', ARGV[6])) end
  if ARGV[6] ~= '' or mark[2] then
    redis.call('PERSIST', KEYS[i])
  else
    redis.call('EXPIRE', KEYS[i], ARGV[7])
  end
end

local n = 1 + n_marks
for field in string.gmatch(ARGV[8], '%S+') do
  n = n + 1
  local known = tonumber(string.match(redis.call('HGET', KEYS[n], field) or '0:0', '^(%d+)'))
  local since = tonumber(ARGV[13]) or watermark
  if known < since then redis.call('HSET', KEYS[n], field, text(since) .. ':0') end
end

local ended, rows = {}, {}
local function try_family(family)
  local known = redis.call('HMGET', prefix .. 'f:' .. family, 't', 'w', 'v', 'd')
  if not known[1] then return true end
  if known[1] ~= tenant or tonumber(known[2]) > watermark then return false end
  if ARGV[9] ~= '' and not string.find(' ' .. ARGV[9] .. ' ', ' ' .. known[3] .. ' ', 1, true) then return false end
  end_family(prefix, family, ended)
  rows[#rows + 1] = {family, known[4]}
  return true
end

if ARGV[10] ~= '' then try_family(ARGV[10]) end

local cursors, open = {}, false
local i = 1 + n_marks + n_overlays
for cursor in string.gmatch(ARGV[12], '%S+') do
  i = i + 1
  if cursor ~= '-' then
    local page = redis.call('ZSCAN', KEYS[i], cursor, 'COUNT', ARGV[11])
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
