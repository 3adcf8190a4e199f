-- Two tenants with providers of their own; everybody else shares a third.
return {
  host = "127.0.0.1",
  strategy = "./strategy.lua",
  strategyOptions = {
    tenants = { acme = "acme", umbrella = "gpu-east" },
  },
  -- A strategy sees the fields that go on to providers; this one does not by itself.
  forwardHeaders = { "X-Tenant" },
  providers = {
    { id = "acme-1", endpoint = env("ACME_URL", "http://127.0.0.1:9001/v1"), tags = { acme = true } },
    { id = "east-1", endpoint = env("EAST_URL", "http://127.0.0.1:9002/v1"), tags = { ["gpu-east"] = true } },
    { id = "shared-1", endpoint = env("SHARED_URL", "http://127.0.0.1:9003/v1"), tags = { shared = true } },
  },
}
