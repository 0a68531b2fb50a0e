-- Owns what wrk sends: the requests of a file made by ops/load, one after the other, with a fresh event id where one has a place for it.
-- A request is [line and headers up to the id, id?, the rest], fields apart by \31, requests by \30.
-- Knows wrk's hooks. Prints one line of JSON at the end.
local heads, kinds, tails, count = {}, {}, {}, 0
local at, last = 0, ""
local tohex, random = bit.tohex, math.random

local function word()
  return tohex(random(0, 0x7fffffff) * 2 + random(0, 1))
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for head, kind, tail in file:read("*a"):gmatch("([^\31]*)\31([^\31]*)\31([^\30]*)\30") do
    count = count + 1
    heads[count], kinds[count], tails[count] = head, kind, tail
  end
  file:close()
  math.randomseed(tonumber(args[2]))
  at = random(1, count)
end

function request()
  at = at % count + 1
  local kind = kinds[at]
  if kind == "" then
    return heads[at]
  end
  if kind == "fresh" or last == "" then
    last = word() .. word() .. word() .. word()
  end
  return heads[at] .. last .. tails[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"hits":%d,"micros":%d,"p50":%d,"p99":%d,"p999":%d,"refused":%d,"broken":%d,"late":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
