-- A direct read, and whom it came from. KEYS: session. ARGV: prefix. Returns {marker or nothing, sealed value or nothing, ms to live}.
return {believed(ARGV[1], identity()), redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
