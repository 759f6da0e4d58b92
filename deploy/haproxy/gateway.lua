-- Forward-auth for HAProxy 2.6 and later: asks the gateway, then sets the identity or relays the denial.
-- Written by `gateway ingress render haproxy`. HAProxy's HTTP client asks up to four times when no answer comes.
--
-- Rules:
-- - HAProxy goes on with the next rule when an action errs. What an action found good it says in a variable, as its last
--   statement, and haproxy.cfg refuses whatever has no such variable.
-- - A client chooses up to 48 kB: every loop reads them once. Patterns are single classes; none can backtrack.
-- - core.httpclient writes past its table when it is given more lines than tune.http.maxhdr: each name is one line.

local CHECK = "http://127.0.0.1:8081/auth/haproxy"
-- Where that is, if not at the address in it.
local DESTINATION = nil
local KEY = "demo-ingress-key-replace-it-0123456789abcdef"
local SCHEME = "http"
local COOKIE = "__Host-gw"
local TIMEOUT_MS = 2000

-- What the gateway reads of the client's own headers; nothing else is sent.
local ASKED = { "cookie", "authorization", "accept", "accept-language", "origin", "access-control-request-method", "x-requested-with", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-purpose", "destination", "depth", "sec-websocket-version", "x-request-id" }
-- Those that may come on several lines, and what joins them. Of any other, two lines are two answers to one question.
local JOINED = { ["cookie"] = "; ", ["accept"] = ", ", ["accept-language"] = ", " }
-- What it answers about the person; every name is set or removed on every request.
local MANAGED = { "x-auth-request-user", "x-auth-request-email", "x-auth-request-preferred-username", "x-auth-request-name", "x-auth-request-groups", "x-auth-request-roles", "x-auth-request-tenant", "x-auth-request-provider", "x-auth-request-jwt", "remote-user", "x-remote-user", "x-department" }
local RELAYED = { "location", "www-authenticate", "content-type", "content-language", "cache-control", "retry-after", "content-security-policy", "cross-origin-opener-policy", "referrer-policy", "x-content-type-options" }
-- For whoever would see a page, and for programs.
local PAGES = { [400] = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>This address cannot be read</title><link rel="icon" href="data:,"></head><body style="margin:0;padding:6vh 1rem 2rem;font:1rem/1.5 system-ui,sans-serif;background:light-dark(rgb(244 245 247),rgb(17 19 24));color:light-dark(rgb(28 30 35),rgb(236 238 242))"><main style="box-sizing:border-box;max-width:26rem;margin:0 auto;padding:2rem;border-radius:10px;background:light-dark(rgb(255 255 255),rgb(27 30 36));border:1px solid light-dark(rgb(213 216 222),rgb(52 57 67));border-top:4px solid rgb(11 95 255)"><section lang="en"><h1 style="margin:0 0 0.75rem;font-size:1.5rem;line-height:2rem">This address cannot be read</h1><p style="margin:0 0 0.5rem">Open the application from its start page, not from this link.</p><p style="margin:0 0 0.5rem"><a href="/" style="color:inherit">To the start page</a></p></section><section lang="de"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">Diese Adresse ist nicht lesbar</h2><p style="margin:0 0 0.5rem">&#214;ffnen Sie die Anwendung &#252;ber ihre Startseite, nicht &#252;ber diesen Link.</p><p style="margin:0 0 0.5rem"><a href="/" style="color:inherit">Zur Startseite</a></p></section><section lang="fr"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">Cette adresse est illisible</h2><p style="margin:0 0 0.5rem">Ouvrez l&#x27;application depuis sa page d&#x27;accueil, pas depuis ce lien.</p><p style="margin:0 0 0.5rem"><a href="/" style="color:inherit">Vers la page d&#x27;accueil</a></p></section><section lang="es"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">No se puede leer esta direcci&#243;n</h2><p style="margin:0 0 0.5rem">Abra la aplicaci&#243;n desde su p&#225;gina de inicio, no desde este enlace.</p><p style="margin:0 0 0.5rem"><a href="/" style="color:inherit">A la p&#225;gina de inicio</a></p></section></main></body></html>', [503] = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>Please try again in a moment</title><link rel="icon" href="data:,"></head><body style="margin:0;padding:6vh 1rem 2rem;font:1rem/1.5 system-ui,sans-serif;background:light-dark(rgb(244 245 247),rgb(17 19 24));color:light-dark(rgb(28 30 35),rgb(236 238 242))"><main style="box-sizing:border-box;max-width:26rem;margin:0 auto;padding:2rem;border-radius:10px;background:light-dark(rgb(255 255 255),rgb(27 30 36));border:1px solid light-dark(rgb(213 216 222),rgb(52 57 67));border-top:4px solid rgb(11 95 255)"><section lang="en"><h1 style="margin:0 0 0.75rem;font-size:1.5rem;line-height:2rem">Please try again in a moment</h1><p style="margin:0 0 0.5rem">Wait a few seconds and load the page again.</p></section><section lang="de"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">Bitte versuchen Sie es gleich noch einmal</h2><p style="margin:0 0 0.5rem">Warten Sie einige Sekunden und laden Sie die Seite neu.</p></section><section lang="fr"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">Veuillez r&#233;essayer dans un instant</h2><p style="margin:0 0 0.5rem">Attendez quelques secondes et rechargez la page.</p></section><section lang="es"><h2 style="margin:1.5rem 0 0.5rem;padding-top:1.5rem;font-size:1.125rem;line-height:1.625rem;border-top:1px solid light-dark(rgb(213 216 222),rgb(52 57 67))">Vuelva a intentarlo en un momento</h2><p style="margin:0 0 0.5rem">Espere unos segundos y recargue la p&#225;gina.</p></section></main></body></html>' }
local PROBLEMS = { [400] = '{"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request"}', [503] = '{"type":"about:blank","title":"Service Unavailable","status":503,"code":"store_unavailable"}' }
-- What the gateway refuses with. Any other status is not the gateway's.
local REFUSALS = { [302] = true, [400] = true, [401] = true, [403] = true, [421] = true, [503] = true }
-- RFC 9110 §5.5: a tab is the only control character that a value may hold.
local CONTROLS = "[%z\1-\8\10-\31\127]"

-- Tables of lines begin at 0.
local function all(values)
  local list = {}
  for i = 0, #values do list[#list + 1] = values[i] end
  return list
end

-- Where the gateway is not asked: by fetch metadata, or by what is accepted.
local function sees_pages(txn)
  local mode = txn.sf:req_fhdr("sec-fetch-mode")
  if mode and mode ~= "" then return mode == "navigate" end
  return (txn.sf:req_fhdr("accept") or ""):lower():find("text/html", 1, true) ~= nil
end

local function refuse(txn, status)
  local page = sees_pages(txn)
  local reply = txn:reply({ status = status })
  if status == 503 then reply:add_header("retry-after", "2") end
  reply:add_header("cache-control", "no-store")
  reply:add_header("content-type", page and "text/html; charset=utf-8" or "application/problem+json")
  reply:set_body((page and PAGES or PROBLEMS)[status])
  txn:done(reply)
end

local function unavailable(txn) refuse(txn, 503) end

local function unreadable(txn) refuse(txn, 400) end

-- Without blanks and tabs at both ends.
local function trim(text)
  local first, last = text:find("[^ \t]"), #text
  if not first then return "" end
  while text:byte(last) == 32 or text:byte(last) == 9 do last = last - 1 end
  return text:sub(first, last)
end

-- The session cookie, its companions, and those of a login in progress.
local function ours(name)
  return name == COOKIE or name:sub(1, #COOKIE + 1) == COOKIE .. "-" or name:sub(1, 10) == "__Host-gw-"
end

-- Every cookie but the gateway's own.
local function others(line)
  local kept = {}
  for pair in line:gmatch("[^;]+") do
    local trimmed = trim(pair)
    local equals = trimmed:find("=", 1, true)
    local name = equals and trim(trimmed:sub(1, equals - 1)) or trimmed
    if trimmed ~= "" and not ours(name) then kept[#kept + 1] = trimmed end
  end
  return table.concat(kept, "; ")
end

-- Servers disagree on where a value with a control character ends, and quote it in their errors: nobody behind reads one.
core.register_action("gateway_screen", { "http-req" }, function(txn)
  for _, values in pairs(txn.http:req_get_headers()) do
    for i = 0, #values do
      if values[i]:find(CONTROLS) then return unreadable(txn) end
    end
  end
  txn:set_var("txn.gateway_screened", true)
end, 0)

-- What the gateway is asked with: one line a name. Nil where a name has two lines that must not be joined.
local function question(txn)
  local given, headers = txn.http:req_get_headers(), {}
  for _, name in ipairs(ASKED) do
    local values = given[name]
    if values and #values > 0 and not JOINED[name] then return nil end
    if values then headers[name] = { table.concat(all(values), JOINED[name]) } end
  end
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-proto"] = { SCHEME }
  headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
  headers["x-forwarded-uri"] = { txn.sf:pathq() }
  headers["x-forwarded-for"] = { txn.sf:src() }
  headers["x-gateway-key"] = { KEY }
  return headers
end

-- Set each of names to its value, or remove it; then read them again, because HAProxy does not say when one did not fit.
local function replace(txn, names, wanted)
  for _, name in ipairs(names) do
    txn.http:req_del_header(name)
    if wanted[name] then txn.http:req_set_header(name, wanted[name]) end
  end
  local set = txn.http:req_get_headers()
  for _, name in ipairs(names) do
    local lines = set[name]
    if wanted[name] and not (lines and #lines == 0 and lines[0] == wanted[name]) then return false end
    if not wanted[name] and lines then return false end
  end
  return true
end

-- Hand on what the gateway said instead of yes.
local function relay(txn, answer)
  -- HAProxy's own client says 503 too, when nobody listens; only the gateway says when to come back.
  if not REFUSALS[answer.status] or (answer.status == 503 and not answer.headers["retry-after"]) then return unavailable(txn) end
  -- A server's text about a request that it could not read may quote it, cookies and all; the gateway's own pages quote nothing.
  if answer.status == 400 and not answer.headers["content-security-policy"] then return unreadable(txn) end
  local reply = txn:reply({ status = answer.status })
  for _, name in ipairs(RELAYED) do
    if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
  end
  reply:set_body(answer.body or "")
  txn:done(reply)
end

core.register_action("gateway_ask", { "http-req" }, function(txn)
  local headers = question(txn)
  if not headers then return unreadable(txn) end
  local answer = core.httpclient():get({ url = CHECK, dst = DESTINATION, headers = headers, timeout = TIMEOUT_MS })
  if not answer or not answer.status or answer.status == 0 then return unavailable(txn) end
  if answer.status ~= 200 then return relay(txn, answer) end

  local names, wanted = { "cookie", "authorization" }, {}
  for _, name in ipairs(MANAGED) do
    local value = answer.headers[name]
    if value and (#value > 0 or value[0]:find(CONTROLS)) then return unavailable(txn) end
    names[#names + 1] = name
    if value and value[0] ~= "" then wanted[name] = value[0] end
  end
  local cookies = headers["cookie"] and others(headers["cookie"][1]) or ""
  if cookies ~= "" then wanted["cookie"] = cookies end
  -- The client's own comes back, unless it holds what is the gateway's.
  local authorization = answer.headers["authorization"]
  if authorization and (#authorization > 0 or authorization[0]:find(CONTROLS)) then return unavailable(txn) end
  if authorization and authorization[0] ~= "" then wanted["authorization"] = authorization[0] end
  if not replace(txn, names, wanted) then
    core.Alert("gateway: the identity did not fit into the request: tune.maxrewrite is too small")
    return unavailable(txn)
  end
  txn:set_var("txn.gateway_allowed", true)
end, 0)

-- Header lines after a body (RFC 9110 §6.5) come when every rule has been read: a request with any is cut off before its
-- end. Only a body without a length can have them. The payload callback's own result is not looked at, an error is.
local NoTrailers = { id = "gateway_no_trailers", flags = filter.FLT_CFG_FL_HTX }
NoTrailers.__index = NoTrailers

function NoTrailers:new() return setmetatable({}, NoTrailers) end

-- What is looked at never becomes a tunnel to HAProxy, and would end when it is silent for "timeout client" and not for
-- "timeout tunnel". So what cannot have trailers is not looked at, and nothing is once the protocol has switched.
function NoTrailers:http_headers(txn, message)
  if message.channel:is_resp() then return self:answered(txn, message) end
  local headers = message:get_headers()
  if headers["content-length"] then return end
  if message:get_stline().version == "HTTP/1.1" and not headers["transfer-encoding"] then return end
  self.looks = true
  filter.register_data_filter(self, message.channel)
end

function NoTrailers:answered(txn, message)
  if self.looks and message:get_stline().code == "101" then filter.unregister_data_filter(self, txn.req) end
end

function NoTrailers:http_payload(txn, message)
  local body = message:body()
  -- The end of a chunked body counts as one byte.
  if message:input() - (body and #body or 0) > 1 then error("a request with trailers was refused", 0) end
end

core.register_filter("gateway_no_trailers", NoTrailers, function(self) return self end)
