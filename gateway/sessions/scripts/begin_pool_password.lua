-- Before Cognito is asked about a name and a password. KEYS: clock. ARGV: prefix. Returns {`began`, which server this is}.
local unrestored, server = demand_restored(ARGV[1])
if unrestored then return unrestored end
return {text(tick(KEYS[1])), server}
