-- Which buckets are believed. KEYS: markers. Returns {identity ('' on a replica), then for each that is not trusted its place in KEYS from 0 and
-- its marker or nothing}: most often all are trusted, and are asked for often.
local rows = {identity()}
for i, key in ipairs(KEYS) do
  local marker = believed(string.sub(key, 1, -2), rows[1])
  if not marker or string.sub(marker, 1, 1) ~= 's' then
    rows[#rows + 1] = i - 1
    rows[#rows + 1] = marker
  end
end
return rows
