-- config: what a configuration file may say. The schema, the checks, the suggestions, and the normalised result
-- that settings.c turns into a plan.
--
-- Trusted Lua, in the same throw-away state in which the file ran. `host` is a table of C functions and limits:
--   env(name)              value or nil
--   endpoint(url)          host, port; or nil, text
--   presets()              list of preset strategies
--   read(path, max_bytes)  text; or nil, text
--   mode(path)             permission bits of a regular file; or nil, text
--   secret(text)           remembers it for the redactor
--   limits                 numbers that C arrays and defaults fix
-- Every check returns the normalised value, or reports at its place and returns nil: all problems of a file are
-- found in one go.

local host, locate = ...

local LISTED_MAX = 100 -- problems shown; the rest is counted
local SHOWN_MAX = 60   -- bytes of a foreign value in a message

-- ---- texts ---------------------------------------------------------------------------------------------------

-- A foreign text as it may stand in a message: quoted, one line, short.
local function quote(text)
  if #text > SHOWN_MAX then text = text:sub(1, SHOWN_MAX) .. "…" end
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
end

local function number_text(n)
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

-- ---- places and problems --------------------------------------------------------------------------------------

local problems, warnings = {}, {}
local file, dir, tree -- of the configuration file; nil without one
local has_failed      -- it did not run to its end
local unset = {}      -- line -> name: variables that env() did not find
local undefined = {}  -- line -> set of names: globals that are none

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

-- "NAME TEXT".
function Place:problem(format, ...) add(problems, self:line(), self:text() .. " " .. format:format(...)) end
function Place:warn(format, ...) add(warnings, self:line(), self:text() .. " " .. format:format(...)) end
-- The text alone.
function Place:say(format, ...) add(problems, self:line(), format:format(...)) end

-- A path as seen from where it was written: the file's folder, or the working directory.
function Place:resolve(path)
  return path:sub(1, 1) == "/" and path or self.dir .. path
end

-- A value that is absent although the file writes it: an environment variable that is not set, most of the time.
local function check_absent(place, may_be_unset)
  local node = place:node()
  if not node or node.is_nil then return end
  local line = place:line()
  if node.env then
    if may_be_unset then return end
    place:say("%s: environment variable %s is not set; set it, or give a default: env(\"%s\", \"…\")", place:text(),
              node.env, node.env)
  elseif not undefined[line] and not may_be_unset then
    place:warn("has no value%s: the default is used", unset[line] and " (" .. unset[line] .. " is not set)" or "")
  end
end

-- ---- checks of single values -----------------------------------------------------------------------------------

-- Numbers and booleans may also come as text: env() knows nothing else.
local function number(o)
  local what = (o.is_real and "a number" or "a whole number") .. (o.unit and " of " .. o.unit or "")
  local range = o.max and (" between %s and %s"):format(number_text(o.min), number_text(o.max))
                or o.min and (" of %s or more"):format(number_text(o.min)) or ""
  return function(value, place)
    local n = value
    if type(value) == "string" and value:find("^%s*%-?%d+%.?%d*%s*$") then n = tonumber(value) end
    local fits = type(n) == "number" and n == n and math.abs(n) ~= math.huge and (not o.min or n >= o.min) and
                   (not o.max or n <= o.max) and (o.is_real or n == math.floor(n))
    if fits then return n end
    place:problem("must be %s%s, not %s%s", what, range, describe(value), o.hint or "")
  end
end

local function boolean(value, place)
  if value == true or value == "true" then return true end
  if value == false or value == "false" then return false end
  place:problem("must be true or false, not %s", describe(value))
end

local function text(o)
  o = o or {}
  return function(value, place)
    if type(value) ~= "string" then
      place:problem("must be %s, not %s", o.what or "a text in quotes", describe(value))
    elseif value == "" then
      place:problem("must not be empty")
    elseif #value > (o.max or 4096) then
      place:problem("is too long: %d bytes, at most %d", #value, o.max or 4096)
    elseif value:find("%c") then
      place:problem("must not contain control characters")
    else
      return value
    end
  end
end

local function choice(...)
  local names = { ... }
  local shown = '"' .. table.concat(names, '", "') .. '"'
  return function(value, place)
    for _, name in ipairs(names) do
      if value == name then return value end
    end
    place:problem("must be %s%s, not %s%s", #names > 1 and "one of " or "", shown, describe(value),
                  did_you_mean(value, names))
  end
end

-- Something that travels in a header field; its value never appears in a message.
local function secret(o)
  return function(value, place)
    if type(value) ~= "string" then
      place:problem("must be a text in quotes, not a %s", type(value))
      return nil
    end
    host.secret(value)
    if value == "" then
      place:problem("must not be empty")
    elseif #value > 4096 then
      place:problem("is too long: %d bytes, at most 4096", #value)
    elseif value:find("^[Bb]earer%s") then
      place:problem('is the bare key: leave out "Bearer "')
    elseif value:find("[^\33-\126]") then
      place:problem("contains a blank, a line end or another character that no key has")
    else
      if o and o.should_be_long and #value < 16 then
        place:warn("is short (%d characters): take a random text of 32", #value)
      end
      return value
    end
  end
end

local function is_address(value) return type(value) == "string" and #value == 42 and value:find("^0x%x+$") ~= nil end

local function address(value, place)
  if is_address(value) then return value end
  if type(value) == "string" and value:find("^0[xX]%x*$") then
    place:problem("is not an address: 0x and 40 hex digits are needed, %s has %d", quote(value), #value - 2)
  else
    place:problem("must be an address (0x and 40 hex digits), not %s", describe(value))
  end
end

-- The URL, its host and its port.
local function endpoint(value, place)
  if type(value) ~= "string" then
    place:problem('must be a URL such as "http://127.0.0.1:8000/v1", not %s', describe(value))
    return nil
  end
  local shown = value:find("@", 1, true) and "this URL" or quote(value)
  if not value:find("^%a[%w+.-]*://") then
    local hint = value:find("^[%w.%-%[]") and not shown:find(" ") and ('; did you mean "http://%s"?'):format(value) or ""
    place:problem('must begin with "http://" or "https://", %s does not%s', shown, #value < SHOWN_MAX and hint or "")
    return nil
  end
  local name, port = host.endpoint(value)
  if name then return value, name, port end
  place:problem("cannot be %s: %s", shown, port)
end

local function listen_host(value, place)
  value = text { what = 'a host name or an IP address such as "127.0.0.1"', max = 255 }(value, place)
  if not value then return nil end
  local bare = value:match("^%[(.*)%]$") or value
  if bare:find("^[%w.:%%_-]+$") then return bare end
  place:problem("must be a host name or an IP address, without scheme, port or path, not %s", quote(value))
end

local function url_of_node(value, place)
  value = text { what = "a URL" }(value, place)
  if not value then return nil end
  if value:find("^[Hh][Tt][Tt][Pp][Ss]?://[^%s/]+%S*$") then return value end
  place:problem('must be an http:// or https:// URL without blanks')
end

local function private_key(value, place)
  if type(value) ~= "string" then
    place:problem("must be a text in quotes, not a %s", type(value))
    return nil
  end
  local digits = value:match("^%s*0[xX](%x+)%s*$") or value:match("^%s*(%x+)%s*$")
  if digits then host.secret(digits) end
  host.secret(value)
  if digits and #digits == 64 then return value end
  place:problem("must be a private key: 64 hex digits, with or without 0x")
end

local function key_file(value, place)
  local path = text { what = "the path of a file" }(value, place)
  if not path then return nil end
  path = place:resolve(path)
  local mode, wrong = host.mode(path)
  if not mode then
    place:problem("%s: %s", quote(path), wrong)
    return nil
  end
  if mode % 64 ~= 0 then
    place:problem("%s can be read by others (mode %04o): run chmod 600 on it", quote(path), mode)
    return nil
  end
  local content
  content, wrong = host.read(path, 4096)
  if not content then
    place:problem("%s: %s", quote(path), wrong)
  elseif private_key(content, place) then
    return path
  end
end

local function certificates(value, place)
  local path = text { what = "the path of a PEM file" }(value, place)
  if not path then return nil end
  path = place:resolve(path)
  local content, wrong = host.read(path, 16 * 1024 * 1024)
  if not content then
    place:problem("%s: %s", quote(path), wrong)
  elseif not content:find("-----BEGIN CERTIFICATE-----", 1, true) then
    place:problem("%s holds no certificate in PEM form", quote(path))
  else
    return path
  end
end

-- ---- checks of tables ----------------------------------------------------------------------------------------

-- How many places a list has; nil (and a problem) when it is none.
local function list_size(value, place, o)
  if type(value) ~= "table" then
    place:problem("must be a list such as %s, not %s", o.example, describe(value))
    return nil
  end
  local node, size = place:node(), 0
  if node and node.n then size = node.n end
  for _, key in ipairs(sorted_keys(value)) do
    if type(key) ~= "number" or key < 1 or key ~= math.floor(key) then
      place:child(key):say("%s is a list such as %s: it has no place for the name %s", place:text(), o.example,
                           describe(key))
      return nil
    end
    size = math.max(size, key)
  end
  if size > o.max then
    place:problem("has %s entries; at most %d are possible", number_text(size), o.max)
    return nil
  end
  return size
end

local function check_hole(place)
  local before = #problems
  check_absent(place)
  if #problems == before and not undefined[place:line()] then place:problem("is nil: an entry of a list needs a value") end
end

local function list(item, o)
  return function(value, place)
    local size = list_size(value, place, o)
    if not size then return nil end
    local out, seen = {}, {}
    for i = 1, size do
      local child = place:child(i)
      local got
      if value[i] == nil then
        check_hole(child)
      else
        got = item(value[i], child)
      end
      if got ~= nil and not seen[got] then
        seen[got] = true
        out[#out + 1] = got
      end
    end
    if size == 0 and o.is_needed then place:problem("is empty: name at least one, such as %s", o.example) end
    return out
  end
end

-- Values that belong elsewhere or are called otherwise in other programs.
local MEANT = { url = "endpoint", baseurl = "endpoint", uri = "endpoint", key = "apiKey", token = "apiKey", name = "id",
                retries = "maxRetries", listen = "host", bind = "host", loglevel = "logLevel" }

local NESTED -- member -> name of the table it belongs to

local function check_unknown(value, place, names)
  local is_known = {}
  for _, name in ipairs(names) do is_known[name] = true end
  for _, key in ipairs(sorted_keys(value)) do
    if not is_known[key] then
      local inside = #place.path > 0 and " in " .. place:text() or ""
      local child = place:child(key)
      local plain = type(key) == "string" and key:lower():gsub("[_%-]", "")
      if type(key) ~= "string" then
        child:say("a value without a name%s: options are written as name = value", inside)
      elseif #place.path == 0 and NESTED[key] then
        child:say("unknown option %s: it belongs into %s = { %s = … }", quote(key), NESTED[key], key)
      elseif is_known[MEANT[plain]] then
        child:say("unknown option %s%s; did you mean %s?", quote(key), inside, quote(MEANT[plain]))
      else
        child:say("unknown option %s%s%s", quote(key), inside, did_you_mean(key, names))
      end
    end
  end
end

-- A table with known members, each { name, check, default, may_be_unset = bool }.
local function members(specs, o)
  local names = {}
  for i, spec in ipairs(specs) do names[i] = spec[1] end
  local function defaults()
    local out = {}
    for _, spec in ipairs(specs) do out[spec[1]] = spec[3] end
    return out
  end
  local function check(value, place)
    if type(value) ~= "table" then
      place:problem("must be a table such as %s, not %s", o.example, describe(value))
      return nil
    end
    check_unknown(value, place, names)
    local out = defaults()
    for _, spec in ipairs(specs) do
      local child, given = place:child(spec[1]), value[spec[1]]
      if given == nil then
        check_absent(child, spec.may_be_unset)
      else
        local got = spec[2](given, child)
        if got ~= nil then out[spec[1]] = got end
      end
    end
    if o.finish then o.finish(out, place) end
    return out
  end
  return check, defaults, names
end

-- ---- headers, CORS -----------------------------------------------------------------------------------------------

local REFUSED_HEADERS = {}
for name in ("authorization cookie proxy-authorization x-api-key api-key"):gmatch("%S+") do
  REFUSED_HEADERS[name] = "carries the client's credentials, which never leave the balancer"
end
for name in ("host connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding upgrade " ..
             "content-length expect"):gmatch("%S+") do
  REFUSED_HEADERS[name] = "belongs to one connection and is written by the balancer itself"
end

local function header_name(value, place)
  if type(value) ~= "string" or #value > 64 or not value:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    place:problem('must be the name of a header such as "X-Tenant", not %s', describe(value))
    return nil
  end
  local lower = value:lower()
  if REFUSED_HEADERS[lower] then
    place:problem("cannot name %s: it %s", quote(value), REFUSED_HEADERS[lower])
    return nil
  end
  return lower
end

local function origin(value, place)
  if value == "*" or type(value) == "string" and #value <= 300 and value:find("^https?://[%w.:%[%]_-]+$") then return value end
  place:problem('must be "*" or an origin such as "https://app.example.org" (no path, no slash at the end), not %s',
                describe(value))
end

local cors_table = members({
  { "origins", list(origin, { example = '{ "https://app.example.org" }', max = 256, is_needed = true }), {} },
}, { example = '{ origins = { "https://app.example.org" } }' })

local function cors(value, place)
  if value == false then return { origins = {} } end
  if value == true then
    place:problem('must say who may ask: { origins = { "https://app.example.org" } }, or { "*" } for everyone')
    return nil
  end
  return cors_table(value, place)
end

-- ---- strategy ------------------------------------------------------------------------------------------------------

-- { name, path = nil for a preset, source = text of the file }.
local function strategy(value, place)
  local name = text { what = "the name of a preset or the path of a .lua file" }(value, place)
  if not name then return nil end
  local presets = host.presets()
  local is_path = name:find("/", 1, true) or name:find("%.lua$")
  if not is_path then
    for _, preset in ipairs(presets) do
      if preset == name then return { name = name } end
    end
  end
  local path = place:resolve(name)
  local source, wrong = host.read(path, 1024 * 1024)
  if not source and not is_path then
    place:problem("%s is no preset%s (presets: %s; a file of your own is written as a path, \"./%s.lua\")", quote(name),
                  did_you_mean(name, presets), #presets > 0 and table.concat(presets, ", ") or "none", name:sub(1, SHOWN_MAX))
  elseif not source then
    place:problem("%s: %s", quote(path), wrong)
  elseif source:find("^%s*$") then
    place:problem("%s is empty", quote(path))
  elseif source:byte() == 27 then
    place:problem("%s is compiled Lua; only source text is accepted", quote(path))
  else
    return { name = name, path = path, source = source }
  end
end

local OPTIONS_MAX = 64 * 1024

local function quote_bytes(value)
  return '"' .. value:gsub('[%c"\\\128-\255]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

-- Plain data as Lua text; members in a fixed order, so that equal options give equal texts.
local function serialise(value, place, parents, depth)
  local kind = type(value)
  if kind == "string" then return quote_bytes(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" and value == value then
    if math.abs(value) == math.huge then return value > 0 and "1/0" or "-1/0" end
    return ("%.17g"):format(value)
  end
  if kind ~= "table" then
    place:problem("must be plain data (numbers, texts, true, false, tables), not %s", describe(value))
    return "nil"
  end
  if parents[value] or depth > 16 then
    place:problem(parents[value] and "contains itself" or "is nested too deeply: at most 16 tables")
    return "nil"
  end
  parents[value] = true
  local out = {}
  for i, key in ipairs(sorted_keys(value)) do
    if i > OPTIONS_MAX / 4 then break end
    local child = place:child(key)
    if type(key) == "string" or type(key) == "number" then
      out[i] = "[" .. serialise(key, child, parents, depth + 1) .. "]=" ..
                 serialise(value[key], child, parents, depth + 1)
    else
      child:problem("has a key that is neither a text nor a number")
    end
  end
  parents[value] = nil
  return "{" .. table.concat(out, ",") .. "}"
end

local function strategy_options(value, place)
  if type(value) ~= "table" then
    place:problem("must be a table of options for the strategy, not %s", describe(value))
    return nil
  end
  local before = #problems
  local out = "return " .. serialise(value, place, {}, 1)
  if #problems > before then return nil end
  if #out <= OPTIONS_MAX then return out end
  place:problem("is too large: %d bytes as text, at most %d", #out, OPTIONS_MAX)
end

-- ---- providers -------------------------------------------------------------------------------------------------------

local limits = host.limits

local function provider_id(value, place)
  value = text { what = 'a name such as "local"' }(value, place)
  if not value then return nil end
  if is_address(value) then
    place:problem("is an address: write address = %s", quote(value))
  elseif #value > limits.id or value:find("[^%w._:-]") then
    place:problem("must be at most %d letters, digits and . _ : -, not %s", limits.id, quote(value))
  else
    return value
  end
end

local function health_path(value, place)
  value = text { what = 'a path such as "/models"', max = 1024 }(value, place)
  if not value then return nil end
  if value:find("^/[%w%-._~%%!$&'()*+,;=:@/?]*$") then return value end
  place:problem('must be a path that begins with "/" and is free of blanks, such as "/models", not %s', quote(value))
end

local function tags(value, place)
  if type(value) ~= "table" then
    place:problem('must be a table such as { region = "eu" }, not %s', describe(value))
    return nil
  end
  local out = {}
  for _, key in ipairs(sorted_keys(value)) do
    local tag, child = value[key], place:child(key)
    local kind = type(tag)
    if type(key) ~= "string" or not key:find("^[%w._-]+$") or #key > 64 then
      child:say('%s: a tag is written as name = value (letters, digits and . _ - in the name)', place:text())
    elseif kind == "number" or kind == "boolean" then
      out[#out + 1] = key .. "=" .. (kind == "number" and number_text(tag) or tostring(tag))
    elseif text { max = 256 }(tag, child) then
      out[#out + 1] = key .. "=" .. tag
    end
  end
  if #out > 32 then place:problem("has %d tags; at most 32 are possible", #out) end
  return out
end

local model_name = text { what = "the name of a model", max = limits.model }

local function whole_endpoint(value, place)
  local url, name, port = endpoint(value, place)
  return url and { url = url, host = name, port = port }
end

local provider_members = members({
  { "address", address },
  { "id", provider_id },
  { "endpoint", whole_endpoint },
  { "model", model_name },
  { "apiKey", secret() },
  { "weight", number { min = 0, max = 1e6, is_real = true }, 1 },
  { "priority", number { min = -1e6, max = 1e6, is_real = true }, 50 },
  { "healthPath", health_path },
  { "tags", tags, {} },
}, { example = '{ endpoint = "http://127.0.0.1:8000/v1" }' })

-- One entry as { place, id = nil until it is made up, address, endpoint, … }; nil when nothing can be made of it.
local function provider(value, place)
  if type(value) == "string" then
    local out = { weight = 1, priority = 50, tags = {}, place = place, written = value }
    if value:find("^0[xX]%x*$") then
      out.address = address(value, place)
    elseif value == "" then
      place:problem("must be an address (0x…) or a URL (http://…), not an empty text")
    else
      out.endpoint = whole_endpoint(value, place)
    end
    return (out.address or out.endpoint) and out or nil
  end
  if type(value) ~= "table" then
    place:problem("must be an address, a URL, or a table such as { endpoint = \"http://127.0.0.1:8000/v1\" }, not %s",
                  describe(value))
    return nil
  end
  local out = provider_members(value, place)
  out.place = place
  if value.address == nil and value.endpoint == nil then
    local node = place:child("endpoint"):node() or place:child("address"):node()
    if not node then place:problem("needs an endpoint (direct) or an address (on chain)") end
  end
  if value.address ~= nil and value.id ~= nil then
    place:child("id"):problem("cannot be set beside address: a provider on chain is known by its address")
  end
  return out
end

local function key_of(id) return is_address(id) and id:lower() or id end

-- Gives every provider its id: the address, the one written, or host:port of the endpoint.
local function name_providers(entries)
  local first = {} -- id -> place of its first use
  for _, entry in ipairs(entries) do
    local id = entry.address or entry.id
    local where = entry.written and entry.place or entry.place:child(entry.address and "address" or "id")
    local other = id and first[key_of(id)]
    if other then
      where:problem("%s is already used by %s%s", quote(id), other:text(),
                    other:line() and " in line " .. other:line() or "")
    elseif id then
      first[key_of(id)] = entry.place
    end
    entry.id = id
  end
  for _, entry in ipairs(entries) do
    if not entry.id and entry.endpoint then
      local base = entry.endpoint.host .. ":" .. entry.endpoint.port
      local id, n = base, 1
      while first[id] do
        n = n + 1
        id = base .. "-" .. n
      end
      if #id > limits.id or id:find("[^%w._:-]") then
        entry.place:problem("has an endpoint whose host makes no good id: add id = \"…\"")
      else
        first[id], entry.id = entry.place, id
      end
    end
  end
end

local function providers(value, place)
  local example = '{ "http://127.0.0.1:8000/v1" }'
  if type(value) == "table" and (value.endpoint ~= nil or value.address ~= nil) then
    place:problem("must be a list of providers: put another pair of { } around this one")
    return nil
  end
  local size = list_size(value, place, { example = example, max = limits.providers })
  if not size then return nil end
  local out = {}
  for i = 1, size do
    local child = place:child(i)
    if value[i] == nil then
      check_hole(child)
    else
      out[#out + 1] = provider(value[i], child)
    end
  end
  if size == 0 then place:problem("is empty: name at least one, such as %s", example) end
  name_providers(out)
  return out
end

-- ---- models ------------------------------------------------------------------------------------------------------------

-- A list of { name, slots }; `is_replaced`: the providers came from elsewhere, so that names of the file may be gone.
local function models(value, place, entries, is_replaced)
  if type(value) ~= "table" then
    place:problem('must be a table such as { ["gpt-4o"] = { "local" } }, not %s', describe(value))
    return nil
  end
  local slot_of, known, out = {}, {}, {}
  for i, entry in ipairs(entries) do
    if entry.written and not slot_of[entry.written] then slot_of[entry.written] = i end
    if entry.id then
      slot_of[key_of(entry.id)] = i
      known[#known + 1] = entry.id
    end
  end
  local function slot(id, where)
    local found = type(id) == "string" and slot_of[key_of(id)]
    if found then return found end
    if type(id) ~= "string" then
      where:problem("must be the id or address of a provider, not %s", describe(id))
    elseif is_replaced then
      where:warn("names %s, which is no provider now that --provider replaces the list", quote(id))
    else
      where:problem("names %s, which is no provider of this configuration%s", quote(id), did_you_mean(id, known))
    end
  end
  for _, name in ipairs(sorted_keys(value)) do
    local child = place:child(name)
    if type(name) ~= "string" or name == "" or #name > limits.model or name:find("%c") then
      child:say("%s: the name of a model (a text of 1 to %d bytes) is needed, not %s", place:text(), limits.model,
                describe(name))
    else
      local slots = list(slot, { example = '{ "local" }', max = limits.providers, is_needed = true })(value[name], child)
      if slots and #slots > 0 then out[#out + 1] = { name = name, slots = slots } end
    end
  end
  return out
end

-- ---- the whole -------------------------------------------------------------------------------------------------------

local DAY = 24 * 3600 * 1000
local function duration(min, max) return number { min = min, max = max or DAY, unit = "ms" } end
local function amount(min, max) return number { min = min, max = max } end
local function bytes(min, max) return number { min = min, max = max, unit = "bytes" } end
local GIB = 1024 * 1024 * 1024

local timeouts, timeouts_default, timeouts_names = members({
  { "connect", duration(1), 5000 },
  { "firstByte", duration(1), 120000 },
  { "idle", duration(1), 60000 },
  { "total", duration(1), 600000 },
  { "clientHeader", duration(1), 10000 },
  { "clientIdle", duration(1), 75000 },
  { "drain", duration(1), 30000 },
}, { example = "{ connect = 5000 }" })

local health, health_default, health_names = members({
  { "fall", amount(1, 100), limits.fall },
  { "rise", amount(1, 100), limits.rise },
  { "ejectAfter", amount(0, 1000), limits.ejectAfter },
  { "ejectBase", duration(1), limits.ejectBase },
  { "ejectMax", duration(1), limits.ejectMax },
  { "rateLimitCooldown", duration(0), limits.rateLimitCooldown },
  { "accountCooldown", duration(0), limits.accountCooldown },
}, {
  example = "{ fall = 3 }",
  finish = function(out, place)
    if out.ejectMax >= out.ejectBase then return end
    place:child("ejectMax"):problem("(%s) must not be below ejectBase (%s)", number_text(out.ejectMax),
                                    number_text(out.ejectBase))
  end,
})

local retry_budget, retry_budget_default, retry_budget_names = members({
  { "ratio", number { min = 0, max = 1, is_real = true, hint = " (0.2 is 20 % of the active requests)" }, 0.2 },
  { "min", amount(0, 1e6), 3 },
}, { example = "{ ratio = 0.2, min = 3 }" })

local reload, reload_default, reload_names = members({
  { "watch", boolean, true },
  { "canary", boolean, true },
}, { example = "{ watch = true, canary = true }" })

local tls, _, tls_names = members({ { "ca", certificates } }, { example = '{ ca = "ca.pem" }' })

local contracts = members({
  { "ledger", address, nil, may_be_unset = true },
  { "inference", address, nil, may_be_unset = true },
}, { example = '{ ledger = "0x…" }' })

local function auto_funding(value, place)
  if type(value) == "table" then return value end
  return boolean(value, place)
end

NESTED = {}
for name, names in pairs { timeouts = timeouts_names, health = health_names, retryBudget = retry_budget_names,
                           reload = reload_names, tls = tls_names } do
  for _, member in ipairs(names) do NESTED[member] = name end
end

-- name, check, default; env: variables that count when neither flag nor file says anything.
local OPTIONS = {
  { "host", listen_host, "0.0.0.0", env = { "MOONGATE_HOST" }, flag = "--host" },
  { "port", number { min = 0, max = 65535 }, 3000, env = { "MOONGATE_PORT" }, flag = "--port" },
  { "workers", amount(0, 256), 0, env = { "MOONGATE_WORKERS" }, flag = "--workers" },
  { "strategy", strategy, nil, env = { "MOONGATE_STRATEGY" }, flag = "--strategy" },
  { "strategyOptions", strategy_options, "return {}" },
  { "maxRetries", amount(0, 255), 3, env = { "MOONGATE_MAX_RETRIES" }, flag = "--max-retries" },
  { "healthCheckInterval", duration(10), 30000, env = { "MOONGATE_HEALTH_CHECK_INTERVAL" },
    flag = "--health-check-interval" },
  { "healthCheckTimeout", duration(1), 5000, env = { "MOONGATE_HEALTH_CHECK_TIMEOUT" } },
  { "sessionTimeout", duration(1, 30 * DAY), 30 * 60 * 1000, env = { "MOONGATE_SESSION_TIMEOUT" },
    flag = "--session-timeout" },
  { "maxSessions", amount(1, 1e8), 1000000, env = { "MOONGATE_MAX_SESSIONS" } },
  { "maxBodyBytes", bytes(1, GIB), 32 * 1024 * 1024, env = { "MOONGATE_MAX_BODY_BYTES" } },
  { "maxBufferedBytes", bytes(1, 1024 * GIB), GIB, env = { "MOONGATE_MAX_BUFFERED_BYTES" } },
  { "minBodyRate", number { min = 0, max = 1e9, unit = "bytes per second" }, 240 },
  { "forwardHeaders", list(header_name, { example = '{ "X-Tenant" }', max = 64 }), {} },
  { "timeouts", timeouts, timeouts_default() },
  { "models" },
  { "strictModels", boolean, false },
  { "panic", choice("offer", "refuse"), "offer" },
  { "retryBudget", retry_budget, retry_budget_default() },
  { "health", health, health_default() },
  { "clientKeys", list(secret { should_be_long = true }, { example = '{ env("CLIENT_KEY") }', max = 4096 }), {} },
  { "adminToken", secret { should_be_long = true }, nil, env = { "MOONGATE_ADMIN_TOKEN" } },
  { "cors", cors, { origins = {} } },
  { "tls", tls, {} },
  { "reload", reload, reload_default() },
  { "guard", choice("strict", "fast"), "strict", env = { "MOONGATE_GUARD" } },
  { "logLevel", choice("debug", "info", "warn", "error", "off"), "info", env = { "MOONGATE_LOG_LEVEL" },
    flag = "--log-level" },
  { "logFormat", choice("text", "json"), "text", env = { "MOONGATE_LOG_FORMAT" }, flag = "--log-format" },
  { "upstream", choice("curl"), "curl" },
  { "rpc", url_of_node, nil, env = { "RPC_ENDPOINT", "ZG_RPC_ENDPOINT" }, flag = "--rpc", may_be_unset = true },
  { "key", private_key, nil, env = { "ZG_PRIVATE_KEY" }, may_be_unset = true },
  { "keyFile", key_file, nil, may_be_unset = true },
  { "contracts", contracts, {} },
  { "autoFunding", auto_funding, false },
  { "providers", providers },
}

-- Flags win over the file, the file over the environment, the environment over defaults. What the file says is
-- checked in any case.
local function effective(spec, written, flags)
  local name, check = spec[1], spec[2]
  local value
  if written[name] ~= nil then
    value = check(written[name], place_in_file { name })
  elseif tree then
    check_absent(place_in_file { name }, spec.may_be_unset)
  end
  if flags[name] ~= nil then return check(flags[name], place_of(spec.flag)), true end
  if written[name] ~= nil then return value end
  for _, variable in ipairs(spec.env or {}) do
    local from_env = host.env(variable)
    if from_env and from_env ~= "" then return check(from_env, place_of("environment variable " .. variable)) end
  end
  return spec[3]
end

local function providers_from_env()
  local listed = host.env("MOONGATE_PROVIDERS")
  local out = {}
  for item in (listed or ""):gmatch("[^%s,]+") do out[#out + 1] = item end
  return #out > 0 and out or nil
end

local function all_providers(written, flags)
  local place, got = place_in_file { "providers" }, nil
  if written.providers ~= nil then
    got = providers(written.providers, place)
  elseif tree then
    check_absent(place)
  end
  if flags.providers then return providers(flags.providers, place_of("--provider")), true end
  if written.providers ~= nil then return got or {} end
  local from_env = providers_from_env()
  if from_env then return providers(from_env, place_of("environment variable MOONGATE_PROVIDERS")) end
  if tree then
    place:say('no providers: write providers = { "http://127.0.0.1:8000/v1" }, or name them with --provider')
  else
    add(problems, nil, "no providers: name one with --provider URL or --provider 0x…, or give a configuration file " ..
                         "(moongate demo runs without any)")
  end
  return {}
end

local LOOPBACK = { ["localhost"] = true, ["::1"] = true }

local function check_together(out, written)
  local function place(name) return place_in_file { written[name] ~= nil and name or nil } end
  if out.maxBodyBytes and out.maxBufferedBytes and out.maxBodyBytes > out.maxBufferedBytes then
    place(written.maxBufferedBytes ~= nil and "maxBufferedBytes" or "maxBodyBytes")
      :say("maxBodyBytes (%s) must not be above maxBufferedBytes (%s)", number_text(out.maxBodyBytes),
           number_text(out.maxBufferedBytes))
  end
  if written.key ~= nil and written.keyFile ~= nil then
    place_in_file { "keyFile" }:say("key and keyFile are both set: leave one out")
  end
  local address_of_host = out.host or "127.0.0.1"
  if #problems == 0 and #out.clientKeys == 0 and not LOOPBACK[address_of_host] and not address_of_host:find("^127%.") then
    add(warnings, nil, ("whoever reaches %s:%s may spend on the providers: set clientKeys, or host = \"127.0.0.1\"")
                         :format(address_of_host, number_text(out.port or 0)))
  end
end

local function why_not_initialised(entry, out)
  if entry.endpoint then return nil end
  local why = "no chain is configured (set rpc and key)"
  if out.rpc and (out.key or out.keyFile) then
    why = "this version does not read its services from the chain (name its endpoint)"
  end
  return ("Failed to initialize provider %s: %s"):format(entry.address, why)
end

local function warn_about_repeated(root)
  for _, r in ipairs(root.repeated or {}) do
    add(warnings, r.line, ("%s is set twice, first in line %d: this one counts"):format(tostring(r.key), r.first_line))
  end
  for _, child in pairs(root.fields or {}) do warn_about_repeated(child) end
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

local config = {}

-- Called first. `path` and `source` are nil when there is no file.
function config.open(path, source)
  file = path
  dir = path and path:match("^.*/") or ""
  tree = source and locate.parse(source)
end

-- The error that loading or running the file ended with.
function config.failed(message)
  has_failed = true
  local line, what = tostring(message):match("^config:(%d+): (.*)$")
  what = what or tostring(message)
  line = tonumber(line)
  if line and undefined[line] then return end -- what follows from a problem that is listed already
  if type(message) ~= "string" then what = ("the file raised an error that is %s, not a text"):format(describe(message)) end
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

-- `returned`: what the file returned (nil without one). Gives the settings, or nil when there are problems.
function config.check(returned, flags)
  local written = {}
  if has_failed then return nil end
  if tree then
    if type(returned) ~= "table" then
      place_in_file {}:say("the file must return a table of options, return { … }, not %s", describe(returned))
      return nil
    end
    written = returned
    local names = {}
    for i, spec in ipairs(OPTIONS) do names[i] = spec[1] end
    check_unknown(written, place_in_file {}, names)
    warn_about_repeated(tree.root)
  end
  local out = {}
  for _, spec in ipairs(OPTIONS) do
    if spec[1] ~= "providers" and spec[1] ~= "models" then out[spec[1]] = effective(spec, written, flags) end
  end
  out.strategy = out.strategy or strategy("round-robin", place_of("the default strategy"))
  local entries, is_replaced = all_providers(written, flags)
  out.providers = entries or {}
  if written.models ~= nil then
    out.models = models(written.models, place_in_file { "models" }, out.providers, is_replaced)
  end
  check_together(out, written)
  if #problems > 0 then return nil end
  for _, entry in ipairs(out.providers) do entry.reason = why_not_initialised(entry, out) end
  return out
end

function config.problems() return render(problems) end
function config.warnings() return render(warnings) end
function config.counts() return #problems, #warnings end

-- ---- what the file sees ------------------------------------------------------------------------------------------------

local ALLOWED = { "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack" }
local REFUSED = {}
for name in ("os io require load loadstring loadfile dofile debug ffi jit package coroutine print collectgarbage _G " ..
             "getmetatable setmetatable rawget rawset rawequal getfenv setfenv xpcall module newproxy bit"):gmatch("%S+") do
  REFUSED[name] = true
end

local function copy(t)
  local out = {}
  for key, value in pairs(t) do out[key] = value end
  return out
end

local function line_of_caller()
  local info = debug.getinfo(3, "Sl")
  return info and info.short_src == "config" and info.currentline or nil
end

local function env(name, default)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    error("env() wants the name of an environment variable in quotes, not " .. describe(name), 2)
  end
  local value = host.env(name)
  if value and value ~= "" then return value end
  if default == nil then
    local line = line_of_caller()
    if line then unset[line] = name end
  end
  return default
end

-- The globals of the file: copies, so that nothing it does reaches this state's own.
function config.environment()
  rawset(string, "dump", nil)
  local globals = { env = env, math = copy(math), string = copy(string), table = copy(table) }
  for _, name in ipairs(ALLOWED) do globals[name] = _G[name] end
  return setmetatable(globals, {
    __index = function(_, name)
      local line = line_of_caller() or 1
      local seen = undefined[line] or {}
      undefined[line] = seen
      if seen[name] then return nil end
      seen[name] = true
      local hint = "; a text needs quotes" .. did_you_mean(name, sorted_keys(globals))
      if REFUSED[name] then
        hint = ' in a configuration file (plain Lua without I/O, and env("NAME"))'
      end
      local what = REFUSED[name] and "is not available" or "is not defined"
      add(problems, line, ("%s %s%s"):format(tostring(name), what, hint))
      return nil
    end,
    __metatable = false,
  })
end

return config
