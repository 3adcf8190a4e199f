-- Two providers with rate limits; a request may wait for one of them.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = { maxWait = 5000 },
  maxRetries = 4,
  timeouts = { total = 60000 },
  providers = {
    { id = "first", endpoint = env("FIRST_URL", "http://127.0.0.1:9001/v1") },
    { id = "second", endpoint = env("SECOND_URL", "http://127.0.0.1:9002/v1") },
  },
}
