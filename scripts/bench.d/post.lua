-- wrk: the same body on every request; a delivery id of its own when BENCH_DELIVERY is set.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
local body = file:read("*a")
file:close()
local prefix, number = os.getenv("BENCH_DELIVERY"), 0

wrk.method = "POST"
wrk.body = body
wrk.headers["Content-Type"] = "application/json"
if prefix then
  wrk.headers["X-GitHub-Event"] = "push"
  wrk.headers["X-Hub-Signature-256"] = os.getenv("BENCH_SIGNATURE")
  function request()
    number = number + 1
    wrk.headers["X-GitHub-Delivery"] = prefix .. string.format("%012d", number)
    return wrk.format()
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('JSON {"requests":%d,"us":%d,"p50":%d,"p99":%d,"bad":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect, errors.read, errors.write, errors.timeout))
end
