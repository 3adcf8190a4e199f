-- The configuration of `moongate demo` (and of `make run`): three simulated providers that run inside the same
-- program. Copy it, put your own endpoints in, and start it with: moongate run my.lua
return {
  host = "127.0.0.1",
  port = 3000,
  strategy = "round-robin",
  providers = {
    -- `moongate demo` sets these variables; to run this file by itself, start three
    -- `moongate sim-provider --port 3001` (3002, 3003).
    { id = "luna", endpoint = env("DEMO_LUNA", "http://127.0.0.1:3001/v1"), model = "sim-model" },
    { id = "selene", endpoint = env("DEMO_SELENE", "http://127.0.0.1:3002/v1"), model = "sim-model" },
    { id = "diana", endpoint = env("DEMO_DIANA", "http://127.0.0.1:3003/v1"), model = "sim-model" },
  },
}
