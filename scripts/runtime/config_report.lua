-- config_report: problems of a configuration, each at its place, and the texts in which they are told.
--
-- Trusted Lua; part of config.lua, made once per load.

local locate = ...

local LISTED_MAX = 100 -- problems shown; the rest is counted
local SHOWN_MAX = 60   -- bytes of a foreign value in a message

local report = { shown_max = SHOWN_MAX }

-- ---- texts ------------------------------------------------------------------------------------------------

-- A foreign text as it may stand in a message: quoted, one line, short.
local function quote(text)
  if #text > SHOWN_MAX then text = text:sub(1, SHOWN_MAX) .. "…" end
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
end

local function number_text(n)
  if n ~= n then return "NaN" end
  return ((n == math.floor(n) and math.abs(n) < 1e15) and "%.0f" or "%.14g"):format(n)
end

local function describe(value)
  local kind = type(value)
  if kind == "string" then return quote(value) end
  if kind == "number" then return number_text(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "cdata" then return "a number with a suffix" end
  return kind == "nil" and "nil" or "a " .. kind
end

local function path_text(path)
  local out = ""
  for i, key in ipairs(path) do
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then
      out = out .. (i > 1 and "." or "") .. key
    else
      out = out .. "[" .. (type(key) == "string" and quote(key) or tostring(key)) .. "]"
    end
  end
  return out
end

-- Edit distance in which two neighbours that changed places count once.
local function distance(a, b)
  local before, last
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    before, last, row = last, row, { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

-- The candidate that was probably meant, or nil. Case, "_" and "-" do not count.
local function nearest(name, candidates)
  if type(name) ~= "string" or #name > 64 then return nil end
  local function plain(text) return (text:lower():gsub("[_%-]", "")) end
  local best, best_distance = nil, math.max(1, math.floor(#name / 3)) + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(plain(name), plain(candidate))
    if d < best_distance then best, best_distance = candidate, d end
  end
  return best
end

local function did_you_mean(name, candidates)
  local best = nearest(name, candidates)
  return best and ("; did you mean %s?"):format(quote(best)) or ""
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) == "number" or (type(b) ~= "number" and tostring(a) < tostring(b))
  end)
  return keys
end

-- ---- places and problems ----------------------------------------------------------------------------------

local problems, warnings = {}, {}
local file, dir, tree -- of the configuration file; nil without one
local has_failed      -- it did not run to its end
local unset = {}      -- line -> name: variables that env() did not find
local undefined = {}  -- line -> set of names: globals that are none
local discovers = {}  -- set of the tables that the file gave to discover()

-- Where a value came from: the file (a path inside the table), a flag, or the environment (a name).
local Place = {}
Place.__index = Place

local function place_in_file(path) return setmetatable({ path = path, dir = dir }, Place) end
local function place_of(name) return setmetatable({ name = name, path = {}, dir = "" }, Place) end

function Place:child(key)
  local path = {}
  for i, part in ipairs(self.path) do path[i] = part end
  path[#path + 1] = key
  return setmetatable({ name = self.name, path = path, dir = self.dir }, Place)
end

function Place:text()
  if not self.name then return path_text(self.path) end
  return self.name
end

function Place:line() return not self.name and tree and tree:line(self.path) or nil end

-- The node when this very value is written in the file.
function Place:node() return not self.name and tree and tree:node(self.path) or nil end

local function add(list, line, text)
  list[#list + 1] = { line = line, order = #list, text = (line and file .. ":" .. line .. ": " or "") .. text }
end

-- "FILE:LINE", or nil.
function Place:where()
  local line = self:line()
  return line and file .. ":" .. line
end

-- "NAME TEXT".
function Place:problem(format, ...) add(problems, self:line(), self:text() .. " " .. format:format(...)) end
function Place:warn(format, ...) add(warnings, self:line(), self:text() .. " " .. format:format(...)) end
-- The text alone.
function Place:say(format, ...) add(problems, self:line(), format:format(...)) end

-- A path as seen from where it was written: the file's folder, or the working directory.
function Place:resolve(path)
  return path:sub(1, 1) == "/" and path or self.dir .. path
end

-- ---- the load ---------------------------------------------------------------------------------------------

-- Called first. `path` and `source` are nil when there is no file.
function report.open(path, source)
  file = path
  dir = path and path:match("^.*/") or ""
  tree = source and locate.parse(source)
end

-- The error that loading or running the file ended with.
function report.failed(message)
  has_failed = true
  local line, what = tostring(message):match("^config:(%d+): (.*)$")
  what = what or tostring(message)
  line = tonumber(line)
  if line and undefined[line] then return end -- what follows from a problem that is listed already
  if type(message) ~= "string" then
    what = ("the file raised an error that is %s, not a text"):format(describe(message))
  end
  if what == "not enough memory" then what = "it needs too much memory: more than 64 MiB" end
  if what:find("wrong mode", 1, true) then what = "compiled Lua is not accepted: write the file as text" end
  -- The place of a syntax error may be a key in quotes.
  what = what:gsub("near '[\"'].*$", "near a text in quotes"):gsub("near '<eof>'", "at the end of the file")
  if line and unset[line] then
    what = ("%s (environment variable %s is not set)"):format(what, unset[line])
  end
  problems[#problems + 1] = { line = line, order = #problems,
                              text = ("%s:%s %s"):format(file, line and line .. ":" or "", what) }
end

-- Problems in the order of the lines; those of flags and environment first.
local function render(entries)
  table.sort(entries, function(a, b)
    local x, y = a.line or 0, b.line or 0
    if x ~= y then return x < y end
    return a.order < b.order
  end)
  local out = {}
  for i, entry in ipairs(entries) do
    if i > LISTED_MAX then
      out[i] = ("… and %d more"):format(#entries - LISTED_MAX)
      break
    end
    out[i] = entry.text:gsub("[%c]", " ")
  end
  return out
end

function report.problems() return render(problems) end
function report.warnings() return render(warnings) end
function report.count() return #problems, #warnings end
function report.has_failed() return has_failed end
-- The tree of the file's text, or nil without a file.
function report.tree() return tree end
-- A problem or warning without a place in the file.
function report.add_problem(text, line) add(problems, line, text) end
function report.add_warning(text, line) add(warnings, line, text) end

report.quote, report.describe, report.number_text = quote, describe, number_text
report.did_you_mean, report.sorted_keys = did_you_mean, sorted_keys
report.place_in_file, report.place_of = place_in_file, place_of
report.unset, report.undefined, report.discovers = unset, undefined, discovers

return report
