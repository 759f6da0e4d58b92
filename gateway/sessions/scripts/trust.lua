-- A full staleness has passed since these markers were written: no lease on another server can still be held. KEYS: markers. ARGV: each as it was seen.
go_on_when_full()
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then redis.call('SET', key, 's' .. string.sub(ARGV[i], 2)) end
end
return 1
