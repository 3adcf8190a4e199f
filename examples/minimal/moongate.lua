-- The smallest useful configuration: two providers, round-robin, everything else by default.
return {
  host = "127.0.0.1",
  providers = {
    { id = "first", endpoint = env("FIRST_URL", "http://127.0.0.1:9001/v1") },
    { id = "second", endpoint = env("SECOND_URL", "http://127.0.0.1:9002/v1") },
  },
}
