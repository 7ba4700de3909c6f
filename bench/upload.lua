-- 1 MiB in each request. The Host field is fixed so that every request has the size that loads.py computes.
wrk.method = "POST"
wrk.body = string.rep("x", 1024 * 1024)
wrk.headers["Host"] = "127.0.0.1"
