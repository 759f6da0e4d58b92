-- Renew the leases of one replica, on one or more buckets of this primary. Nothing here expires: see docs/sessions.md, "Lease".
-- KEYS  per bucket: its leases. ARGV: replica, beat, then per bucket: prefix, incarnation, event applied ('' while joining).
-- Returns per bucket {marker or nothing, number of the last event, generation demanded, {events since} or nothing where the log is too short}.
go_on_when_full()
local self_id, rows = identity(), {}
for i = 1, #KEYS do
  local prefix, incarnation, applied = ARGV[3 * i], ARGV[3 * i + 1], tonumber(ARGV[3 * i + 2])
  local marker = believed(prefix, self_id)
  if not marker then
    rows[i] = {false}
  else
    redis.call('HSET', KEYS[i], ARGV[1], incarnation .. ' ' .. (applied and text(applied) or '-') .. ' ' .. ARGV[2])
    local last = tonumber(redis.call('GET', prefix .. 'n') or '0')
    local since = {}
    if applied and applied ~= last then
      since = false
      if applied < last and last - applied <= redis.call('LLEN', prefix .. 'e') then
        since = redis.call('LRANGE', prefix .. 'e', text(applied - last), -1)
      end
    end
    rows[i] = {marker, text(last), redis.call('GET', prefix .. 'g') or '0', since}
  end
end
return rows
