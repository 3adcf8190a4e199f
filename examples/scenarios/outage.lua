-- One of three providers is gone for a while, twice, and another fails now and then.
--   moongate strategy simulate round-robin --scenario examples/scenarios/outage.lua
-- Health checks and failed attempts take the first one out; what was running there moves to the others. A stream that
-- had begun cannot move: those are the failures that clients see.
return {
  providers = {
    { id = "north", latencyMs = 400, parallel = 40, down = { { 20, 50 }, { 80, 90 } } }, -- seconds
    { id = "south", latencyMs = 400, parallel = 40 },
    { id = "west", latencyMs = 500, parallel = 40, errorRate = 0.05, errorClass = "overloaded" },
  },
  load = { rate = 80 },
  duration = 120,
  healthCheckInterval = 10000,
}
