-- Owns what wrk sends: the requests of a file made by ops/load, one after the other, with a fresh event id where one has a place for it.
-- A request is [line and headers up to the id, id?, the rest], fields apart by \31, requests by \30.
-- In it \29 stands for the next line of a second file (all lines are of one length), \28 for the next number.
-- Arguments: the file, a seed; and where the requests have such places: the second file, how many of its lines
-- are used, the line to begin with, how many numbers there are.
-- Knows wrk's hooks. Prints one line of JSON at the end.
local heads, kinds, tails, count = {}, {}, {}, 0
local at, last = 0, ""
local lines, lines_used, line, width, block, number, numbers
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
  if args[3] then
    lines = assert(io.open(args[3], "rb"))
    width = #lines:read("*l") + 1
    lines_used, line, number, numbers = tonumber(args[4]), tonumber(args[5]), tonumber(args[5]), tonumber(args[6])
  end
end

-- A thousand lines are read at once.
local function next_line()
  line = line % lines_used
  if not block or line % 1000 == 0 then
    lines:seek("set", (line - line % 1000) * width)
    block = lines:read(1000 * width)
  end
  local from = line % 1000 * width + 1
  line = line + 1
  return block:sub(from, from + width - 2)
end

local function filled(request)
  number = number % numbers + 1
  return (request:gsub("[\28\29]", function(place)
    return place == "\29" and next_line() or tostring(number)
  end))
end

local function plain()
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

function request()
  return lines and filled(plain()) or plain()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"hits":%d,"micros":%d,"p50":%d,"p99":%d,"p999":%d,"refused":%d,"broken":%d,"late":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
