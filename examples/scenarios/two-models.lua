-- Two models and two tenants: long answers of a large model beside short ones of a small one.
--   moongate strategy simulate p2c --scenario examples/scenarios/two-models.lua --compare round-robin
-- A request goes to those that serve its model. `size` multiplies the time of an answer; a header is what strategies
-- read with req:header("X-Team").
return {
  providers = {
    { id = "big-1", model = "large", latencyMs = 900, jitter = 0.6, parallel = 24, weight = 2 },
    { id = "big-2", model = "large", latencyMs = 1400, jitter = 0.6, parallel = 24 },
    { id = "small-1", model = "small", latencyMs = 150, parallel = 16 },
    { id = "small-2", model = "small", latencyMs = 250, parallel = 16, tags = { region = "eu" } },
  },
  load = {
    rate = 90,
    requests = 20000,
    mix = {
      { share = 3, model = "small", headers = { ["X-Team"] = "blue" }, answerTokens = 40 },
      { share = 1, model = "small", headers = { ["X-Team"] = "red" }, size = 2, maxTokens = 400 },
      { share = 1, model = "large", headers = { ["X-Team"] = "red" }, stream = 1, promptTokens = 4000,
        answerTokens = 800 },
    },
  },
}
