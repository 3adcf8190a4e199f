--[[
rendezvous-hash: requests that belong together go to the same provider, where their prompt may still be cached.

Rendezvous hashing, also "highest random weight" (Thaler and Ravishankar, 1998): each provider gets a number made of the
request's key and its own id, and the best number wins. Nothing is stored, all workers and processes agree, and when a
provider comes or goes only its own share of the keys moves. Numbers are scaled so that shares follow the weights.

Bounded load (Mirrokni, Thorup and Zadimoghaddam, 2018) keeps a popular key from drowning its provider: one that has
`loadFactor` times its fair share of all requests in flight is passed over, and the key's next best gets it.

The key is the value of the field `header`, when the option names one and the request has it; else the session
(X-Session-Id or prompt_cache_key); else the hash of the body's first 1024 bytes, which the same system prompt makes
alike; else the client's address.
]]

local rendezvous = lb.pick.rendezvous

local function key_of(state, req)
  local header = state.header
  if header then
    local value = req:header(header)
    if value then return value end
  end
  local session = req.session_key
  if session ~= "" then return session end
  local prefix = req.prefix_hash
  if prefix ~= 0 then return prefix end
  return req.client
end

return {
  abi = 1,
  name = "rendezvous-hash",

  options = {
    header = { type = "string" },
    loadFactor = { default = 1.25, min = 1, max = 1000 },
  },

  init = function(_, options)
    return { header = options.header, factor = options.loadFactor }
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    return rendezvous(pool, key_of(state, req), state.factor)
  end,
}
