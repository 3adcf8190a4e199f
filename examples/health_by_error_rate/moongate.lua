-- Three providers, judged by their share of failures. The engine's own ejection is off: two judges would argue.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = { degradeAt = 0.15, downAt = 0.4 },
  health = { ejectAfter = 0 },
  healthCheckInterval = 10000,
  providers = {
    { id = "first", endpoint = env("FIRST_URL", "http://127.0.0.1:9001/v1") },
    { id = "second", endpoint = env("SECOND_URL", "http://127.0.0.1:9002/v1") },
    { id = "third", endpoint = env("THIRD_URL", "http://127.0.0.1:9003/v1") },
  },
}
