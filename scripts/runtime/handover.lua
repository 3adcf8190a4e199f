--[[
handover: what one generation's `export` returned, as Lua text, for the next one's `init`. Plain data alone: numbers,
texts, booleans, and tables of them. The limits keep it loadable: a function of Lua has at most 65,536 constants.
]]

local error, format, gsub, load, next, tostring, type = error, string.format, string.gsub, load, next, tostring, type
local concat, huge = table.concat, math.huge

local EXPORT_BYTES, EXPORT_VALUES, EXPORT_DEPTH = 2 ^ 20, 30000, 32

local function quote_bytes(text)
  return '"' .. gsub(text, '[%c"\\\128-\255]', function(c) return format("\\%03d", c:byte()) end) .. '"'
end

---Raises a text without a place when it cannot be done. kind_of_view(x) is true for what is the engine's.
local function write(data, kind_of_view)
  local out, n, bytes, values = { "return " }, 1, 7, 0
  local parents = {}
  local function put(text)
    n = n + 1
    out[n] = text
    bytes = bytes + #text
    if bytes > EXPORT_BYTES then error("the exported data is larger than 1 MiB", 0) end
  end
  local function put_value(value, depth)
    local kind = type(value)
    values = values + 1
    if values > EXPORT_VALUES then error(format("there are more than %d exported values", EXPORT_VALUES), 0) end
    if kind == "string" then
      if bytes + #value > EXPORT_BYTES then error("the exported data is larger than 1 MiB", 0) end
      put(quote_bytes(value))
    elseif kind == "boolean" then
      put(tostring(value))
    elseif kind == "number" then
      put(value ~= value and "0/0" or value == huge and "1/0" or value == -huge and "-1/0" or
            format("%.17g", value))
    elseif kind == "table" and not kind_of_view(value) then
      if parents[value] then error("the exported data contains itself", 0) end
      if depth > EXPORT_DEPTH then error("the exported data is nested too deeply", 0) end
      parents[value] = true
      put("{")
      for k, v in next, value do
        if type(k) ~= "string" and type(k) ~= "number" then
          error(format("a key of the exported data is a %s: numbers and texts are possible", type(k)), 0)
        end
        put("[")
        put_value(k, depth)
        put("]=")
        put_value(v, depth + 1)
        put(",")
      end
      put("}")
      parents[value] = nil
    else
      error(format("the exported data holds a %s: numbers, texts, booleans and tables are possible",
                   kind_of_view(value) and "view" or kind), 0)
    end
  end
  put_value(data, 1)
  return concat(out)
end

---The data again, or nil.
local function read(text)
  local chunk = text and load(text, "=previous", "t", {})
  return chunk and chunk() or nil
end

return { write = write, read = read }
