-- Four providers of unlike speed, balanced by latency rather than by load.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = { quantile = 0.75 },
  providers = {
    { id = "a", endpoint = env("A_URL", "http://127.0.0.1:9001/v1") },
    { id = "b", endpoint = env("B_URL", "http://127.0.0.1:9002/v1") },
    { id = "c", endpoint = env("C_URL", "http://127.0.0.1:9003/v1") },
    { id = "d", endpoint = env("D_URL", "http://127.0.0.1:9004/v1") },
  },
}
