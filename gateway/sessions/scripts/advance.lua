-- Set a tenant's clock past a recorded value (after a fail-over to older data). KEYS: clock. ARGV: value. Returns the clock.
go_on_when_full()
local clock = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1]))
redis.call('SET', KEYS[1], text(clock))
return text(tick(KEYS[1]))
