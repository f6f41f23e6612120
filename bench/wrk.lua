-- One request again and again, each with a number of its own: arguments are the method, the path,
-- the body, the first number, and headers as "Name: value". Where these say {n}, the number stands
-- in twelve digits; where the path says {line}, the next line of the file BENCH_LINES. At the end a line of JSON says what was done.

local MARK = "NNNNNNNNNNNN"
local text, number, lines

function init(args)
   local function marked(given) return (given:gsub("{n}", MARK)) end
   local headers = {}
   for i = 5, #args do
      local name, value = args[i]:match("^([^:]+): (.*)$")
      headers[name] = marked(value)
   end
   local body = args[3] ~= "" and marked(args[3]) or nil
   text = wrk.format(args[1], marked(args[2]), headers, body)
   number = tonumber(args[4])
   local file = os.getenv("BENCH_LINES")
   if file and file ~= "" then lines = io.lines(file) end
end

function request()
   local numbered = text:gsub(MARK, string.format("%012.0f", number))
   number = number + 1
   if lines then numbered = numbered:gsub("{line}", lines() or "none-is-left") end
   return numbered
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"done": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
