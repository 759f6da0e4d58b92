-- Would a check be answered from here? It writes, so that WAIT has something to wait for, as a renewal does.
-- KEYS: a place to write in each bucket that is asked about. Returns {identity ('' on a replica), replicas that are connected, generation demanded of each bucket ('' where it is not restored), this server's time (us)}.
go_on_when_full()
redis.call('SET', KEYS[1], '', 'EX', 60)
local server, demanded = identity(), {}
for i, key in ipairs(KEYS) do
  local prefix = string.sub(key, 1, -2)
  demanded[i] = believed(prefix, server) and (redis.call('GET', prefix .. 'g') or '0') or ''
end
local _, online = string.gsub(redis.call('INFO', 'replication'), 'state=online', '')
return {server, online, demanded, text(now_us())}
