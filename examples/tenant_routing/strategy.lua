--[[
Routing by tenant: the field `header` of a request names its tenant, and the option `tenants` says which providers, by
tag, may serve it. A tenant's requests stay among these even when they are busy; a tenant that the option does not know
shares the providers tagged `shared`.

Two things are worth a look. The table of the configuration is turned into what `select` needs once, in `init`: by slot,
so that a choice is a look-up and no search. And a tenant that may use nobody at the moment gets nil and a reason, which
makes a 503 of its own: going elsewhere would break the promise.
]]

local function slots_with(pool, tag)
  local out = {}
  for i = 1, #pool do
    local p = pool[i]
    if p.tags[tag] ~= nil then out[p.slot] = true end
  end
  return out
end

local function is_allowed(p, slots) return slots[p.slot] end

return {
  abi = 1,
  name = "tenant-routing",

  options = {
    header = { default = "X-Tenant" },
    tenants = { default = {} }, -- tenant = tag
  },

  ---@param pool lb.Pool
  init = function(pool, options)
    local state = { header = options.header, tenants = {}, shared = slots_with(pool, "shared") }
    for tenant, tag in pairs(options.tenants) do
      local slots = slots_with(pool, tag)
      if next(slots) == nil then error(("tenants: no provider has the tag %s"):format(tostring(tag)), 0) end
      state.tenants[tenant] = slots
    end
    return state
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    local tenant = req:header(state.header)
    local slots = tenant and state.tenants[tenant] or state.shared
    local own = lb.filter.where(pool, is_allowed, slots)
    local place = lb.pick.least(own)
    if place then return place end
    return nil, tenant and ("no provider for tenant %s now"):format(tenant:sub(1, 40)) or "no shared provider now"
  end,
}
