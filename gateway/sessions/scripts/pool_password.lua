-- What a name and a password came to within the last minute. KEYS: session, refusal. ARGV: prefix.
-- Returns {marker or nothing, sealed session or nothing, ms to live, reason of a refusal or nothing, ms to live of that}.
return {believed(ARGV[1], identity()), redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2])}
