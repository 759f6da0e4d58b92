-- Which buckets are believed. KEYS: markers. Returns {identity ('' on a replica), marker or nothing, ...}.
local rows = {identity()}
for i, key in ipairs(KEYS) do
  rows[i + 1] = believed(string.sub(key, 1, -2), rows[1])
end
return rows
