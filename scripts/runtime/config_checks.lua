-- config_checks: checks of values, from numbers to tables with known members. Each takes a value and its place,
-- and returns the normalised value, or reports at the place and returns nil.
--
-- Trusted Lua; part of config.lua, made once per load.

local host, report = ...
local quote, describe, number_text = report.quote, report.describe, report.number_text
local did_you_mean, sorted_keys = report.did_you_mean, report.sorted_keys

-- nested: member -> name of the table it belongs to; for hints about options at the top.
local checks = { nested = {} }

-- A value that is absent although the file writes it: an environment variable that is not set, most of the time.
local function check_absent(place, may_be_unset)
  local node = place:node()
  if not node or node.is_nil then return end
  local line = place:line()
  if node.env then
    if may_be_unset then return end
    place:say('%s: environment variable %s is not set; set it, or give a default: env("%s", "…")', place:text(),
              node.env, node.env)
  elseif not report.undefined[line] and not may_be_unset then
    local name = report.unset[line]
    place:warn("is nil%s, as if it were not written", name and " (" .. name .. " is not set)" or "")
  end
end

-- ---- checks of single values ------------------------------------------------------------------------------

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
    local is_bare = #value < report.shown_max and value:find("^[%w.%-%[][%w.:/%-%[%]]*$")
    place:problem('must begin with "http://" or "https://", %s does not%s', shown,
                  is_bare and ('; did you mean "http://%s"?'):format(value) or "")
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
  local is_v6 = bare:find("^[%x:.]+%%?[%w._-]*$") and bare:find(":.*:")
  if is_v6 or bare:find("^[%w._-]+$") then return bare end
  place:problem("must be a host name or an IP address, without scheme, port or path, not %s", quote(value))
end

-- A URL may hold a key: it is never shown.
local function url_of_node(value, place)
  value = text { what = "a URL" }(value, place)
  if not value then return nil end
  if value:find("@", 1, true) then
    place:problem("cannot hold a user or a password")
  elseif not value:find("^[Hh][Tt][Tt][Pp][Ss]?://[^%s/]+%S*$") or value:find('["<>\\^`{|}#]') then
    place:problem('must be an http:// or https:// URL without blanks')
  else
    return value
  end
end

-- The C side takes it over; nothing of it stays here.
local function private_key(value, place)
  if type(value) ~= "string" then
    place:problem("must be a text in quotes, not a %s", type(value))
    return nil
  end
  local ok, wrong = host.key(value:match("^%s*(.-)%s*$"))
  if ok then return true end
  host.secret(value) -- a mistyped key is most of a key
  place:problem("%s", wrong)
end

-- An amount in 0G, as a number or a decimal text; returned as text.
local function money(o)
  return function(value, place)
    local amount = value
    if type(value) == "number" and value == value and value >= 0 and value < 1e15 then
      amount = ("%.15g"):format(value)
      if amount:find("e", 1, true) then amount = ("%.18f"):format(value) end
    end
    local ok, wrong = nil, "not a decimal number"
    if type(amount) == "string" then
      amount = amount:match("^%s*(.-)%s*0[Gg]%s*$") or amount
      ok, wrong = host.amount(amount)
    end
    if not ok then
      place:problem('must be an amount in %s such as 2 or "0.5", not %s%s', o.unit or "0G", describe(value),
                    wrong == "not a decimal number" and "" or " (" .. wrong .. ")")
    elseif o.min and tonumber(amount) < o.min then
      place:problem("must be at least %s 0G%s", number_text(o.min), o.why or "")
    else
      return amount
    end
  end
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

-- ---- checks of tables -------------------------------------------------------------------------------------

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
  local before = report.count()
  check_absent(place)
  if report.count() == before and not report.undefined[place:line()] then
    place:problem("is nil: an entry of a list needs a value")
  end
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
      elseif #place.path == 0 and checks.nested[key] then
        child:say("unknown option %s: it belongs into %s = { %s = … }", quote(key), checks.nested[key], key)
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

-- ---- headers, CORS ----------------------------------------------------------------------------------------

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
  if value == "*" then return value end
  if type(value) == "string" and #value <= 300 and value:find("^https?://[%w.:%[%]_-]+$") then return value end
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

for name, check in pairs {
  absent = check_absent, number = number, boolean = boolean, text = text, choice = choice, secret = secret,
  is_address = is_address, address = address, endpoint = endpoint, listen_host = listen_host,
  url_of_node = url_of_node, private_key = private_key, money = money, key_file = key_file, certificates = certificates,
  list_size = list_size, hole = check_hole, list = list, unknown = check_unknown, members = members,
  header_name = header_name, cors = cors,
} do
  checks[name] = check
end

return checks
