-- Write the markers of buckets: what they hold was brought up to the record, on the server that this is now.
-- KEYS: markers. ARGV: nonce, identity for which the record was applied, generation of the tenant snapshot that is published. Returns 1, or 0 where another server has taken over meanwhile.
go_on_when_full()
if identity() ~= ARGV[2] then return 0 end
for _, key in ipairs(KEYS) do
  local demanded = string.sub(key, 1, -2) .. 'g'
  if tonumber(redis.call('GET', demanded) or '0') < tonumber(ARGV[3]) then redis.call('SET', demanded, ARGV[3]) end
  -- Another admin role may have been first; a second marker would end everybody's incarnation for nothing.
  if not believed(string.sub(key, 1, -2), ARGV[2]) then redis.call('SET', key, 'f ' .. ARGV[2] .. ' ' .. ARGV[1]) end
end
return 1
