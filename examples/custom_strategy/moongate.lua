-- Two providers, and a strategy of one's own from the file beside this one.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = { start = 800 },
  providers = {
    { id = "first", endpoint = env("FIRST_URL", "http://127.0.0.1:9001/v1") },
    { id = "second", endpoint = env("SECOND_URL", "http://127.0.0.1:9002/v1"), weight = 2 },
  },
}
