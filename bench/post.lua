-- POSTs what the file holds that is named after "--". The Host field is fixed so that every request has the size that
-- loads.py computes.
wrk.method = "POST"
wrk.headers["Host"] = "127.0.0.1"

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.body = file:read("*a")
  file:close()
end
