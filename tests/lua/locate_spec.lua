-- locate: run from the repository's root with `luajit tests/lua/locate_spec.lua`; prints TAP.

local locate = dofile("scripts/runtime/locate.lua")

local n, failed = 0, 0
local function check(name, got, want)
  n = n + 1
  if got == want then
    print(("ok %d %s"):format(n, name))
  else
    failed = failed + 1
    print(("not ok %d %s"):format(n, name))
    print(("# got %s, want %s"):format(tostring(got), tostring(want)))
  end
end

local function line(text, ...)
  return locate.parse(text):line({ ... })
end

-- ---- forms of keys --------------------------------------------------------------------------------------------

local plain = [[
-- a comment with return { port = 1 }
return {
  host = "x", port = 3000,
  ["workers"] = 2,
  ['maxRetries'] = 1;
  providers = {
    "http://a",
    { id = "b",
      weight = -1 },
    [3] = {
      weight = 7,
    },
  },
}
]]
check("key =", line(plain, "port"), 3)
check('["key"] =', line(plain, "workers"), 4)
check("['key'] =", line(plain, "maxRetries"), 5)
check("positional string", line(plain, "providers", 1), 7)
check("positional table", line(plain, "providers", 2), 8)
check("inside a positional table", line(plain, "providers", 2, "weight"), 9)
check("[number] =", line(plain, "providers", 3, "weight"), 11)
check("missing member: its parent", line(plain, "providers", 2, "endpoint"), 8)
check("missing member of the root: return", line(plain, "sessionTimeout"), 2)
check("deeper than written", line(plain, "host", "a", "b"), 3)

-- ---- what must not confuse it ----------------------------------------------------------------------------------

local noisy = [==[
#!/usr/bin/env moongate
--[[ return { port = 1 }
  port = 2 ]] --[=[ ]] ]=]
local long = [[
return { port = 3 }
]]
local function helper(a, b)
  if a then return { port = b } end
  for i = 1, 3 do helper(i, { port = i }) end
  return { port = 4, [a] = function() return { port = 5 } end }
end
return {
  text = "a \" } , port = 6",
  other = 'it\'s', more = [=[
    }, port = 7
  ]=],
  computed = helper(1, { port = 8 }),
  fn = function(x) local port = 9; if x then return { port } end end,
  [1 + 2] = "y", [helper] = { port = 1 },
  sum = 1 + (2 * 3) .. "x" == "7x" and { a = 1 } or 0x1F,
  port = --[[ here ]]
    10,
  rest = ...
}
]==]
check("comments, strings, functions, calls", line(noisy, "port"), 21)
check("long string as a value", line(noisy, "more"), 14)
check("a call's argument is no member", line(noisy, "computed", "port"), 17)
check("a function's table is no member", line(noisy, "fn", "port"), 18)

check("CR LF counts once", line("return {\r\n\r\n  port = 1,\r\n}", "port"), 3)
check("CR alone counts", line("return {\r\rport = 1 }", "port"), 3)
check("line ends in a continued string", line('return { a = "x\\\ny\\\r\nz",\n port = 1 }', "port"), 4)
check("byte order mark", line("\239\187\191return {\n port = 1 }", "port"), 2)
check("escapes in a key", line('return {\n ["p\\111\\x72\\u{74}"] = 1 }', "port"), 2)
check("\\z in a key", line('return {\n ["po\\z\n   rt"] = 1 }', "port"), 2)
check("numbers with signs and suffixes", line("return { a = 1e-3, b = 0x1p+4, c = 5LL,\n port = 1..2 }", "port"), 2)
check("negative value", line("return {\n a = -1,\n port = -2 }", "port"), 3)
check("separator ;", line("return { a = 1;\n port = 2; }", "port"), 2)

-- ---- variables ---------------------------------------------------------------------------------------------------

local variables = [[
local common = 5
local list = {
  { id = "a" },
  { id = "b",
    weight = 1 },
}
local config = { port = 1, timeouts = {} }
config.host = "x"
config.timeouts.idle = 3
config["workers"] = 4
print({ providers = 1 })
config.providers = list
return config
]]
check("member of a returned variable", line(variables, "port"), 7)
check("assigned later", line(variables, "host"), 8)
check("assigned later, deeper", line(variables, "timeouts", "idle"), 9)
check("assigned later, quoted", line(variables, "workers"), 10)
check("unknown member: the return", line(variables, "nothing"), 13)
check("member that is a variable",
      line("local list = {\n 'a',\n { weight = 1 } }\nreturn {\n providers = list }", "providers", 2, "weight"), 3)
check("its own line when nothing inside fits",
      line("local list = {\n 'a' }\nreturn {\n providers = list }", "providers", 2, "weight"), 4)
check("the last return at the lowest depth",
      line("if x then\n return { port = 1 }\nend\nreturn {\n port = 2 }", "port"), 5)
check("a variable that names itself", line("local a = { b = a }\nreturn a", "b", "b", "b"), 1)

-- ---- what a value is ---------------------------------------------------------------------------------------------

local values = locate.parse([[
local key = env("FROM_LOCAL")
return {
  a = env("A"), b = env "B", c = env("C", "x"), d = env("D") or 1, e = nil, f = { env("F"), "g" },
  g = key, port = 1,
  port = 2,
}]])
local function node(...) return values:node({ ... }) or {} end
check("env()", node("a").env, "A")
check("env without parentheses", node("b").env, "B")
check("env with a default is no plain env", node("c").env, nil)
check("env with or is no plain env", node("d").env, nil)
check("nil", node("e").is_nil, true)
check("env in a list", node("f", 1).env, "F")
check("env by a variable", node("g").env, "FROM_LOCAL")
check("members counted", node("f").n, 2)
check("not written", values:node({ "f", 3 }), nil)
check("repeated key", values.root.repeated[1].key, "port")
check("repeated key: line", values.root.repeated[1].line, 5)
check("repeated key: first line", values.root.repeated[1].first_line, 4)

-- ---- texts that do not compile: any answer, but an answer ----------------------------------------------------------

local broken = {
  "", "return", "return {", "return { a = ", "return { [", "return { ['a'", "}}}}", "{{{{", "return 'abc", "return [[",
  "return [==[ x", "--[[", "return { a = 'x\\", "return { )))] end until }", "return {,,;}", "return { a = function(",
  "local x = {", "a.b.c", "a.", "\0\1\255", "return {\0}", "[=", "return { [1", "#",
}
for i, text in ipairs(broken) do
  local ok, got = pcall(line, text, "a", 1)
  check("broken text " .. i, ok and type(got), "number")
end
check("deep nesting", pcall(line, "return " .. ("{ a = "):rep(5000), "a", "a"), true)
do
  -- Every prefix and every text with one byte removed still gives an answer.
  local bad = 0
  for i = 1, #noisy do
    if not pcall(line, noisy:sub(1, i), "port") then bad = bad + 1 end
    if not pcall(line, noisy:sub(1, i - 1) .. noisy:sub(i + 1), "port") then bad = bad + 1 end
  end
  check("cut texts", bad, 0)
end

print("1.." .. n)
os.exit(failed == 0 and 0 or 1)
