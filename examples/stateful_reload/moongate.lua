-- A strategy that learns, and keeps what it has learnt when its file changes.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = { explore = 0.1 },
  reload = { watch = true },
  providers = {
    { id = "first", endpoint = env("FIRST_URL", "http://127.0.0.1:9001/v1") },
    { id = "second", endpoint = env("SECOND_URL", "http://127.0.0.1:9002/v1") },
  },
}
