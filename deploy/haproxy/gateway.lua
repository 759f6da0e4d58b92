-- Forward-auth for HAProxy 2.6 and later: asks the gateway, then sets the identity or relays the denial.
-- Written by `gateway ingress render haproxy`. HAProxy's HTTP client asks up to four times when no answer comes.

local CHECK = "http://127.0.0.1:8081/auth/haproxy"
local KEY = "demo-ingress-key-replace-it-0123456789abcdef"
local SCHEME = "http"
local COOKIE = "__Host-gw"
local TIMEOUT_MS = 2000

-- What the gateway reads of the client's own headers; nothing else is sent.
local ASKED = { "cookie", "authorization", "accept", "accept-language", "origin", "access-control-request-method", "x-requested-with", "sec-fetch-mode", "sec-fetch-dest", "sec-purpose", "x-request-id" }
-- What it answers about the person; every name is set or removed on every request.
local MANAGED = { "x-auth-request-user", "x-auth-request-email", "x-auth-request-preferred-username", "x-auth-request-name", "x-auth-request-groups", "x-auth-request-roles", "x-auth-request-tenant", "x-auth-request-provider", "x-auth-request-jwt", "remote-user", "x-remote-user", "x-department" }
local RELAYED = { "location", "www-authenticate", "content-type", "cache-control", "retry-after", "content-security-policy", "x-content-type-options" }

local function all(values)
  local list = {}
  for i = 0, #values do list[#list + 1] = values[i] end
  return list
end

local function unavailable(txn)
  local reply = txn:reply({ status = 503 })
  reply:add_header("retry-after", "2")
  reply:add_header("cache-control", "no-store")
  reply:add_header("content-type", "application/problem+json")
  reply:set_body('{"type":"about:blank","title":"Service Unavailable","status":503,"code":"store_unavailable"}')
  txn:done(reply)
end

-- The session cookie, its companions, and those of a login in progress.
local function ours(name)
  return name == COOKIE or name:sub(1, #COOKIE + 1) == COOKIE .. "-" or name:sub(1, 10) == "__Host-gw-"
end

-- Every cookie but the gateway's own.
local function others(lines)
  local kept = {}
  for _, line in ipairs(lines) do
    for pair in line:gmatch("[^;]+") do
      local trimmed = pair:match("^%s*(.-)%s*$")
      local name = trimmed:match("^([^=]-)%s*=") or trimmed
      if trimmed ~= "" and not ours(name) then kept[#kept + 1] = trimmed end
    end
  end
  return table.concat(kept, "; ")
end

core.register_action("gateway_ask", { "http-req" }, function(txn)
  local given, headers = txn.http:req_get_headers(), {}
  for _, name in ipairs(ASKED) do
    if given[name] then headers[name] = all(given[name]) end
  end
  local query = txn.sf:query()
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-proto"] = { SCHEME }
  headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
  headers["x-forwarded-uri"] = { txn.sf:path() .. (query and query ~= "" and "?" .. query or "") }
  headers["x-forwarded-for"] = { txn.sf:src() }
  headers["x-gateway-key"] = { KEY }

  local answer = core.httpclient():get({ url = CHECK, headers = headers, timeout = TIMEOUT_MS })
  if not answer or not answer.status or answer.status == 0 then return unavailable(txn) end

  if answer.status == 200 then
    for _, name in ipairs(MANAGED) do
      local value = answer.headers[name]
      if value and (#value > 0 or value[0]:find("%c")) then return unavailable(txn) end
      if value and value[0] ~= "" then txn.http:req_set_header(name, value[0]) else txn.http:req_del_header(name) end
    end
    local cookies = given["cookie"] and others(all(given["cookie"])) or ""
    if cookies == "" then txn.http:req_del_header("cookie") else txn.http:req_set_header("cookie", cookies) end
    return
  end

  local known = { [302] = true, [400] = true, [401] = true, [403] = true, [421] = true, [503] = true }
  -- HAProxy's own client says 503 too, when nobody listens; only the gateway says when to come back.
  if not known[answer.status] or (answer.status == 503 and not answer.headers["retry-after"]) then return unavailable(txn) end
  local reply = txn:reply({ status = answer.status })
  for _, name in ipairs(RELAYED) do
    if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
  end
  reply:set_body(answer.body or "")
  txn:done(reply)
end, 0)
