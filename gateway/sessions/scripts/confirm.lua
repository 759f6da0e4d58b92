-- Comes after everything that was written at this server before: replicas that have it have that too. KEYS: clock. Returns which server this is.
go_on_when_full()
tick(KEYS[1])
return identity()
