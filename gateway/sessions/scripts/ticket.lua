-- Issue a ticket. KEYS: ticket, parent's session, family. ARGV: sealed, binding id, host, lifetime (s). Returns 1, or 0 when the parent has ended.
if redis.call('EXISTS', KEYS[2], KEYS[3]) < 2 then return 0 end
redis.call('HSET', KEYS[1], 'p', ARGV[1], 'k', ARGV[2], 'h', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
