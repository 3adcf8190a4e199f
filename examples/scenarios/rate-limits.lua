-- A cheap provider that answers every tenth request with 429 and asks for a pause; strategies that try it again at once
-- learn nothing. The engine keeps to Retry-After whatever the strategy says.
--   moongate strategy simulate least-connections --scenario examples/scenarios/rate-limits.lua
-- Sixty clients ask again as soon as they have their answer.
return {
  providers = {
    { id = "cheap", latencyMs = 250, parallel = 24, errorRate = 0.1, errorClass = "rate_limited", retryAfterMs = 2000,
      price_in = 0.2, price_out = 0.8 },
    { id = "plain", latencyMs = 350, parallel = 32, price_in = 1, price_out = 4 },
    { id = "noble", latencyMs = 300, parallel = 64, price_in = 3, price_out = 15 },
  },
  load = { clients = 60, thinkMs = 200 },
  duration = 300,
  strategyOptions = {
    cheapest = { prices = { cheap = { 0.2, 0.8 }, plain = { 1, 4 }, noble = { 3, 15 } }, maxInFlight = 24 },
    priority = { maxInFlight = 24 },
  },
}
