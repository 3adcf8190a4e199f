-- locate: finds the source line of a value inside the table that a configuration file returns.
--
-- A Lua table does not remember where its members were written, but a message such as "providers[3].weight must
-- be 0 or more" is only useful with a line. This file reads the text again, as tokens, and remembers for each
-- member of each table constructor where it starts: `key =`, `["key"] =`, positional. Values that are more than a
-- constructor (perhaps inside discover()), a name or a call of env() are skipped; what was computed is found by its
-- nearest written parent.
--
-- Trusted, pure Lua; knows nothing of the product. It never raises an error, whatever the text.

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

local DEPTH_MAX = 200 -- LuaJIT itself refuses deeper nesting

-- ---- tokens -----------------------------------------------------------------------------------------------

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true " ..
             "until while"):gmatch("%a+") do
  KEYWORDS[word] = true
end

local ESCAPES = { a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v" }

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xf0 + math.floor(code / 262144) % 8, 0x80 + math.floor(code / 4096) % 64,
                     0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

-- The value of a quoted string's inside.
local function unescape(text)
  if not find(text, "\\", 1, true) then return text end
  local out, at = {}, 1
  while true do
    local slash = find(text, "\\", at, true)
    if not slash then break end
    out[#out + 1] = sub(text, at, slash - 1)
    local rest = slash + 1
    local digits = match(text, "^%d%d?%d?", rest)
    local hex = match(text, "^x(%x%x)", rest)
    local code = match(text, "^u{(%x+)}", rest)
    local blanks = match(text, "^z%s*", rest)
    local newline = match(text, "^\r\n", rest) or match(text, "^\n\r", rest)
    if digits then
      out[#out + 1] = string.char(tonumber(digits) % 256)
      at = rest + #digits
    elseif hex then
      out[#out + 1] = string.char(tonumber(hex, 16))
      at = rest + 3
    elseif code then
      out[#out + 1] = utf8(tonumber(code, 16) % 0x200000)
      at = rest + #code + 3
    elseif blanks then
      at = rest + #blanks
    elseif newline then
      out[#out + 1] = "\n"
      at = rest + 2
    else
      local char = sub(text, rest, rest)
      out[#out + 1] = ESCAPES[char] or char
      at = rest + 1
    end
  end
  out[#out + 1] = sub(text, at)
  return table.concat(out)
end

-- Three parallel arrays: kind ("name", "string", "number", or the keyword or sign itself), value, line.
local function tokenize(text)
  local kinds, values, lines, n = {}, {}, {}, 0
  local at, line, size = 1, 1, #text

  local function add(kind, value)
    n = n + 1
    kinds[n], values[n], lines[n] = kind, value, line
  end
  -- Lua counts \n, \r, \r\n and \n\r as one line end each.
  local function count_lines(from, to)
    if from > to then return end
    local piece = sub(text, from, to)
    local i = find(piece, "[\r\n]")
    while i do
      local this, following = byte(piece, i, i + 1)
      if (following == 10 or following == 13) and following ~= this then i = i + 1 end
      line = line + 1
      i = find(piece, "[\r\n]", i + 1)
    end
  end
  -- Where the long bracket that opens at `from` ends (its last byte), with its inside; nil when there is none.
  local function long_bracket(from)
    local level = match(text, "^%[(=*)%[", from)
    if not level then return nil end
    local inside = from + #level + 2
    local close = find(text, "]" .. level .. "]", inside, true)
    if not close then return size, sub(text, inside) end
    return close + #level + 1, sub(text, inside, close - 1)
  end
  local function quoted(from)
    local quote = byte(text, from)
    local i = from + 1
    while i <= size do
      local c = byte(text, i)
      if c == quote then break end
      i = i + (c == 92 and 2 or 1)
    end
    return i, sub(text, from + 1, i - 1)
  end

  if sub(text, 1, 3) == "\239\187\191" then at = 4 end
  if byte(text, at) == 35 then at = find(text, "[\r\n]", at) or size + 1 end

  while true do
    local from = find(text, "%S", at)
    if not from then break end
    count_lines(at, from - 1)
    at = from
    local two = sub(text, at, at + 1)
    local c = sub(text, at, at)
    if two == "--" then
      local last = long_bracket(at + 2)
      if last then
        count_lines(at, last)
        at = last + 1
      else
        at = find(text, "[\r\n]", at) or size + 1
      end
    elseif c == '"' or c == "'" then
      local last, inside = quoted(at)
      add("string", unescape(inside))
      count_lines(at, last)
      at = last + 1
    elseif two == "[[" or two == "[=" and long_bracket(at) then
      local last, inside = long_bracket(at)
      add("string", (inside:gsub("^\r?\n", "")))
      count_lines(at, last)
      at = last + 1
    elseif find(c, "[%a_\128-\255]") then
      local word = match(text, "^[%w_\128-\255]+", at)
      add(KEYWORDS[word] and word or "name", word)
      at = at + #word
    elseif find(text, "^%.?%d", at) then
      local number = match(text, "^0[xX][%x%.]*[pP][+-]%d+%a*", at) or match(text, "^0[xX][%w%.]*", at) or
                       match(text, "^[%d%.]+[eE][+-]%d+%a*", at) or match(text, "^[%d%.]+%w*", at)
      add("number", tonumber(number) or number)
      at = at + #number
    else
      local sign = match(text, "^%.%.%.?", at) or match(text, "^[=~<>]=", at) or match(text, "^::", at) or c
      add(sign, sign)
      at = at + #sign
    end
  end
  return { kinds = kinds, values = values, lines = lines, n = n, last_line = line }
end

-- ---- structure --------------------------------------------------------------------------------------------

-- Words and signs that open something which a later one closes.
local OPENS = { ["("] = true, ["["] = true, ["{"] = true, ["function"] = true, ["if"] = true, ["do"] = true,
                ["repeat"] = true }
local CLOSES = { [")"] = true, ["]"] = true, ["}"] = true, ["end"] = true, ["until"] = true }
local ENDS_VALUE = { [","] = true, [";"] = true, ["}"] = true }

--[[
A node: line (where it is written), fields (key -> node, for a constructor), n (positional members), and
what its value is when that can be told: env (name in a plain env("NAME")), is_nil (a literal nil), alias (the
name of a variable), repeated (list of { key, line, first_line }).
]]
local parse_table

-- The first token behind the expression that starts at `i`.
local function skip_expression(tokens, i)
  local kinds, depth = tokens.kinds, 0
  while i <= tokens.n do
    local kind = kinds[i]
    if depth == 0 and (ENDS_VALUE[kind] or CLOSES[kind]) then break end
    if OPENS[kind] then
      depth = depth + 1
    elseif CLOSES[kind] then
      depth = depth - 1
    end
    i = i + 1
  end
  return i
end

-- The first token behind the bracket that opens at `i`.
local function skip_bracket(tokens, i)
  local kinds, depth = tokens.kinds, 0
  while i <= tokens.n do
    if OPENS[kinds[i]] then
      depth = depth + 1
    elseif CLOSES[kinds[i]] then
      depth = depth - 1
    end
    i = i + 1
    if depth == 0 then break end
  end
  return i
end

-- A node for the value at token `i`, and the first token behind it.
local function parse_value(tokens, i, line, depth)
  local kinds, values = tokens.kinds, tokens.values
  if kinds[i] == "{" and depth < DEPTH_MAX then
    local node, behind = parse_table(tokens, i, depth + 1)
    node.line = line
    return node, skip_expression(tokens, behind)
  end
  local behind = skip_expression(tokens, i)
  local opens = kinds[i + 1] == "(" and i + 2 or i + 1
  if kinds[i] == "name" and values[i] == "discover" and kinds[opens] == "{" and depth < DEPTH_MAX then
    local node = parse_table(tokens, opens, depth + 1)
    node.line = line
    return node, behind
  end
  local node = { line = line }
  if kinds[i] == "name" and behind == i + 1 then
    node.alias = values[i]
  elseif kinds[i] == "nil" and behind == i + 1 then
    node.is_nil = true
  elseif kinds[i] == "name" and values[i] == "env" then
    if kinds[i + 1] == "(" and kinds[i + 2] == "string" and kinds[i + 3] == ")" and behind == i + 4 then
      node.env = values[i + 2]
    elseif kinds[i + 1] == "string" and behind == i + 2 then
      node.env = values[i + 1]
    end
  end
  return node, behind
end

local function set_field(node, key, child)
  local before = node.fields[key]
  if before then
    node.repeated[#node.repeated + 1] = { key = key, line = child.line, first_line = before.line }
  end
  node.fields[key] = child
end

-- The constructor whose `{` is token `i`.
function parse_table(tokens, i, depth)
  local kinds, values, lines = tokens.kinds, tokens.values, tokens.lines
  local node = { line = lines[i], fields = {}, n = 0, repeated = {} }
  i = i + 1
  while i <= tokens.n do
    local kind, line = kinds[i], lines[i]
    if kind == "}" then
      return node, i + 1
    elseif kind == "," or kind == ";" then
      i = i + 1
    elseif kind == "name" and kinds[i + 1] == "=" then
      local key = values[i]
      local child
      child, i = parse_value(tokens, i + 2, line, depth)
      set_field(node, key, child)
    elseif kind == "[" then
      local close = skip_expression(tokens, i + 1)
      local is_plain = close == i + 2 and (kinds[i + 1] == "string" or kinds[i + 1] == "number")
      local key = values[i + 1]
      i = close + 1
      if kinds[i] == "=" then
        local child
        child, i = parse_value(tokens, i + 1, line, depth)
        if is_plain then set_field(node, key, child) end
      end
    else
      local from = i
      local child
      child, i = parse_value(tokens, i, line, depth)
      if i == from then
        i = i + 1 -- a stray closing sign; only in a text that does not compile
      else
        node.n = node.n + 1
        node.fields[node.n] = child
      end
    end
  end
  return node, i
end

-- `.b["c"] =` from token `i` on: the keys and the token behind `=`; nil for anything else.
local function assignment_at(tokens, i)
  local kinds, values = tokens.kinds, tokens.values
  local keys = {}
  while true do
    if kinds[i] == "." and kinds[i + 1] == "name" then
      keys[#keys + 1] = values[i + 1]
      i = i + 2
    elseif kinds[i] == "[" and (kinds[i + 1] == "string" or kinds[i + 1] == "number") and kinds[i + 2] == "]" then
      keys[#keys + 1] = values[i + 1]
      i = i + 3
    else
      break
    end
  end
  if kinds[i] ~= "=" then return nil end
  return keys, i + 1
end

-- Signs and words behind a call that make it a part of something larger.
local CONTINUES = { ["or"] = true, ["and"] = true, [".."] = true, ["."] = true, [":"] = true, ["["] = true,
                    ["("] = true, ["+"] = true, ["-"] = true, ["*"] = true, ["/"] = true, ["%"] = true, ["^"] = true,
                    ["=="] = true, ["~="] = true, ["<"] = true, [">"] = true, ["<="] = true, [">="] = true }

-- The value of an assignment statement at token `i`. Where a statement ends cannot be told from signs alone, so
-- that only a constructor is passed; the walk goes on inside anything else.
local function parse_assigned(tokens, i, line)
  local kinds, values = tokens.kinds, tokens.values
  if kinds[i] == "{" then
    local node, behind = parse_table(tokens, i, 1)
    node.line = line
    return node, behind
  end
  local node = { line = line }
  if values[i] == "env" and kinds[i + 1] == "(" and kinds[i + 2] == "string" and kinds[i + 3] == ")" and
     not CONTINUES[kinds[i + 4]] then
    node.env = values[i + 2]
  end
  return node, i
end

-- Adds `name.key… = value` to what is known of the variables.
local function note_assignment(variables, name, keys, child)
  if #keys == 0 then
    variables[name] = child
    return
  end
  local node = variables[name]
  for k = 1, #keys - 1 do
    node = node and node.fields and node.fields[keys[k]]
  end
  if node and node.fields then node.fields[keys[#keys]] = child end
end

-- The returned node and the variables, from the whole text.
local function walk(tokens)
  local kinds, values, lines = tokens.kinds, tokens.values, tokens.lines
  local variables, root, root_depth = {}, nil, math.huge
  local depth, i = 0, 1
  while i <= tokens.n do
    local kind, line = kinds[i], lines[i]
    if kind == "return" and depth <= root_depth then
      root, i = parse_value(tokens, i + 1, line, 0)
      root_depth = depth
    elseif kind == "(" or kind == "{" or kind == "[" then
      i = skip_bracket(tokens, i)
    elseif kind == "name" then
      local name = values[i]
      local keys, value = assignment_at(tokens, i + 1)
      if keys then
        local child
        child, i = parse_assigned(tokens, value, line)
        note_assignment(variables, name, keys, child)
      else
        i = i + 1
      end
    else
      if OPENS[kind] then depth = depth + 1 end
      if CLOSES[kind] then depth = depth - 1 end
      i = i + 1
    end
  end
  return root or { line = tokens.last_line }, variables
end

local Tree = {}
Tree.__index = Tree

-- A name stands for the constructor last assigned to it.
local function resolve(self, node)
  local target = node.alias and self.variables[node.alias]
  return target or node
end

-- Line of the value at `path` (a list such as {"providers", 3, "weight"}), or of its nearest written parent.
function Tree:line(path)
  local node = self.root
  local line = node.line
  for k = 1, #path do
    local fields = resolve(self, node).fields
    node = fields and fields[path[k]]
    if not node then break end
    line = node.line
  end
  return line
end

-- The node of `path` when exactly that value is written in the text, else nil.
function Tree:node(path)
  local node = self.root
  for k = 1, #path do
    local fields = resolve(self, node).fields
    node = fields and fields[path[k]]
    if not node then return nil end
  end
  return resolve(self, node)
end

local locate = {}

function locate.parse(text)
  local root, variables = walk(tokenize(text))
  return setmetatable({ root = root, variables = variables }, Tree)
end

return locate
