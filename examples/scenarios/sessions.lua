-- Five hundred conversations of very different length over equal providers: what a strategy that keeps each at
-- one provider, for the sake of its cache, costs in evenness.
--   moongate strategy simulate rendezvous-hash --scenario examples/scenarios/sessions.lua --compare least-connections
-- Session k is asked for 1/k as often as the first one (Zipf's law, skew 1).
return {
  providers = {
    { id = "a", latencyMs = 300, parallel = 48 },
    { id = "b", latencyMs = 300, parallel = 48 },
    { id = "c", latencyMs = 300, parallel = 48 },
    { id = "d", latencyMs = 300, parallel = 48 },
  },
  load = { rate = 300, requests = 20000, sessions = 500, skew = 1 },
}
