-- Lease holders now. KEYS: leases. ARGV: prefix. Returns {marker or nothing, {replica, lease, ...}}.
return {believed(ARGV[1], identity()), redis.call('HGETALL', KEYS[1])}
