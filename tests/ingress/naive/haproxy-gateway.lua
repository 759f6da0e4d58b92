local TITLES = { [302] = "login", [401] = "nobody", [403] = "denied", [503] = "away" }
core.register_action("gateway_ask", { "http-req" }, function(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if name ~= "content-length" and name ~= "connection" and name ~= "upgrade" then
      headers[name] = {}
      for i = 0, #values do headers[name][i + 1] = values[i]:match("^%s*(.-)%s*$$") end
    end
  end
  local query = txn.sf:query()
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-proto"] = { "http" }
  headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
  headers["x-forwarded-uri"] = { txn.sf:path() .. (query and query ~= "" and "?" .. query or "") }
  headers["x-gateway-key"] = { "$KEY" }
  local answer = core.httpclient():get({ url = "http://$CHECK/auth/haproxy", headers = headers, timeout = 2000 })
  if answer and answer.status == 200 then
    for name, variable in pairs({ ["x-auth-request-user"] = "user", ["x-auth-request-email"] = "email", ["x-auth-request-name"] = "name" }) do
      if answer.headers[name] then txn:set_var("txn." .. variable, answer.headers[name][0]) end
    end
    return
  end
  core.Info("gateway: " .. TITLES[answer and answer.status or 503])
  local reply = txn:reply({ status = answer and answer.status ~= 0 and answer.status or 503 })
  if answer and answer.headers and answer.headers["location"] then reply:add_header("location", answer.headers["location"][0]) end
  txn:done(reply)
end, 0)
