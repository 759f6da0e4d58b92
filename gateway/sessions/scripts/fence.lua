-- Who must confirm: an event that says nothing but comes after all others, and the lease holders as they are after it.
-- KEYS: leases. ARGV: prefix, traceparent of who waits ('' for none). Returns {marker or nothing, number of the event, {replica, lease, ...}}.
go_on_when_full()
local marker = believed(ARGV[1], identity())
if not marker then return {false} end
return {marker, text(event(ARGV[1], ARGV[2] == '' and '-' or '- ' .. ARGV[2])), redis.call('HGETALL', KEYS[1])}
