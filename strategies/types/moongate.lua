---@meta moongate
-- What a strategy may use, for the Lua language server (LuaLS): completion, types, a text for each name. Nothing loads
-- this file. tests/lua/types_spec.lua holds it to the program and to the manual.

-- ---- the table that a strategy returns ---------------------------------------------------------------------------

---@class lb.Strategy
---@field abi 1
---@field name? string for logs, /health and /admin/strategy
---@field options? table<string, lb.Option> what strategyOptions may hold
---@field init? fun(pool: lb.Pool, options: table<string, any>, previous: any): any once per worker and generation
---@field select? fun(state: any, req: lb.Request, pool: lb.Pool): (integer | integer[] | nil), string? for each attempt
---@field score? fun(state: any, req: lb.Request, provider: lb.Provider): number? instead of select; the lowest wins
---@field retry? fun(state: any, req: lb.Request, outcome: lb.Outcome): lb.Retry?, number? after a failed attempt
---@field observe? fun(state: any, req: lb.Request, provider: lb.Provider, outcome: lb.Outcome) once per attempt
---@field health? fun(state: any, provider: lb.Provider, evidence: lb.Evidence): lb.Health?, string? after a check, or a second with attempts
---@field tick? fun(state: any, pool: lb.Pool) every second
---@field export? fun(state: any): any plain data for the next generation's init

---@class lb.Option
---@field default? any the value when strategyOptions has none
---@field min? number lowest value of a number
---@field max? number highest value of a number
---@field type? "number"|"string"|"boolean"|"table" by default that of the default

---@alias lb.Retry 0|1|2|3 lb.DEFAULT, lb.NEXT, lb.SAME, lb.STOP
---@alias lb.Health 1|2|3 lb.UP, lb.DEGRADED, lb.DOWN
---@alias lb.Level "debug"|"info"|"warn"|"error"

---@alias lb.Class
---| "ok"
---| "connect"
---| "tls"
---| "dns"
---| "timeout_connect"
---| "timeout_ttft"
---| "timeout_idle"
---| "timeout_total"
---| "rate_limited"
---| "exhausted"
---| "auth"
---| "overloaded"
---| "server"
---| "bad_response"
---| "stream_truncated"
---| "client_error"
---| "content_policy"
---| "client_closed"

-- ---- views: read-only, valid during the call ---------------------------------------------------------------------

---@class lb.Provider
---@field index integer place in this call's pool, 1 to #pool
---@field slot integer place in the configuration, 1 and up; stable within a generation
---@field id string as configured; the address for a service on chain
---@field address string "" for a direct endpoint
---@field kind "direct"|"onchain"
---@field model string what it is asked for; "" when the client's name is passed on
---@field tags table<string, string> as configured; numbers and booleans as text
---@field weight number configured, 0 and up; default 1
---@field priority number configured, lower is preferred; default 50
---@field in_flight integer attempts running now, all workers
---@field dispatched integer attempts begun since the provider was first configured
---@field samples integer successful attempts measured
---@field latency_ms number ms, average of the total time; NaN while samples is 0
---@field ttft_ms number ms, average of the time to the first byte; NaN while samples is 0
---@field tpot_ms number ms, average time per output token; NaN until measured
---@field peak_ttft_ms number ms, average that jumps up at once and forgets over 10 s; NaN while samples is 0
---@field error_rate number 0 to 1, moving share of attempts that failed by its own fault
---@field throttle_rate number 0 to 1, moving share of attempts that were rate_limited
---@field consecutive_failures integer since the last success
---@field last_class lb.Class of the attempt settled last
---@field state "up"|"degraded"|"down"
---@field state_since_ms number ms since the state changed
---@field cooldown_ms number ms left of a pause that it asked for; 0 when there is none
---@field rl_requests_left number requests, from its rate-limit headers; NaN when unknown
---@field rl_tokens_left number tokens, likewise
---@field rl_reset_ms number ms until both are full again, likewise
---@field price_in number smallest unit of the chain's coin per input token; NaN while unknown
---@field price_out number likewise, per output token
---@field balance number what is left in its account, in the same unit; NaN while unknown
---@field runway_s number s that the balance lasts; NaN while unknown
---@field token_expires_s number s until its session token ends; NaN while unknown
---@field verifiable boolean its answers can be verified
---@field verify_ok integer answers that passed
---@field verify_fail integer answers that failed

---@class lb.Pool: { [integer]: lb.Provider }
---@field key integer the same candidates have the same key

---@class lb.Request
---@field id string X-Request-Id
---@field kind "chat"|"completions"|"embeddings"|"images"|"audio"|"responses"|"messages"
---@field model string as the client named it; "" when it named none
---@field stream boolean the client asked for a stream
---@field body_bytes integer bytes
---@field est_input_tokens number tokens, body bytes / 4
---@field max_tokens number tokens; NaN when the client set none
---@field attempt integer 1 for the first
---@field elapsed_ms number ms since its head was complete
---@field deadline_ms number ms left until the total deadline
---@field session_key string X-Session-Id or the body's prompt_cache_key; "" when there is none
---@field prefix_hash integer of the first 1024 body bytes; 0 when the body is empty
---@field client string the peer's IP address
local Request = {}

---The value of a field of the head, name in any case; nil when it is not there. Credentials are never there.
---@param name string
---@return string?
function Request:header(name) end

---0 <= x < 1; the n-th number of an attempt depends on the request alone, so that a replay repeats.
---@return number
function Request:rand() end

---A whole number, 0 to 2^53 - 1, of the text and the request's seed.
---@param text string
---@return integer
function Request:hash(text) end

---@class lb.Outcome
---@field class lb.Class how the attempt ended
---@field status integer HTTP status; 0 when no answer came
---@field retry_after_ms number ms that it asks to wait; 0 when it does not say
---@field connect_ms number ms; 0 over a connection that was open already, NaN when none came about
---@field ttft_ms number ms to the first byte; NaN when none came
---@field total_ms number ms
---@field tokens_in number tokens, from the answer's usage; NaN when unknown
---@field tokens_out number likewise
---@field committed boolean bytes have reached the client

---@class lb.Evidence
---@field is_probe boolean a health check; otherwise the attempts of one second
---@field ok boolean the check passed; for a second: none of its attempts failed
---@field status integer HTTP status of the check; 0 when no answer came, and for a second of attempts
---@field latency_ms number ms, of the check; for a second the provider's latency_ms; NaN when nothing was measured
---@field attempts integer in that second; 1 for a check
---@field failures integer of these
---@field reason string? why it failed

-- ---- lb ----------------------------------------------------------------------------------------------------------

---@class lb
---@field DEFAULT 0 retry: what the engine does without the callback
---@field NEXT 1 retry: another provider
---@field SAME 2 retry: the same provider again
---@field STOP 3 retry: no further attempt
---@field UP 1 health: up
---@field DEGRADED 2 health: a candidate still, listed as degraded
---@field DOWN 3 health: no candidate
---@field class table<lb.Class, lb.Class> the classes by name; an unknown one is an error
lb = {}

---Writes a line to the log, at most 20 a second.
---@param level lb.Level
---@param text any
function lb.log(level, text) end

---Milliseconds of a clock that never goes back.
---@return number
function lb.now_ms() end

---0 <= x < 1; with `n` a whole number 1 to n.
---@param n? integer
---@return number
function lb.random(n) end

---A whole number, 0 to 2^53 - 1, of text and seed alone.
---@param text string
---@param seed? number
---@return integer
function lb.hash(text, seed) end

---How often these very candidates have been offered, this time included, over all workers.
---@param pool lb.Pool
---@return integer
function lb.turn(pool) end

---0.1 when the provider's state has just changed, rising evenly to 1 over the window.
---@param p lb.Provider
---@param window_ms number
---@return number
function lb.slow_start(p, window_ms) end

---@class lb.Counter
local Counter = {}

---Adds a whole number (default 1) and returns the sum.
---@param n? integer
---@return integer
function Counter:add(n) end

---@return integer
function Counter:get() end

---A whole number by name (1 to 48 bytes), common to all workers and generations; at most 1024.
---@param name string
---@return lb.Counter
function lb.counter(name) end

---@class lb.shared
lb.shared = {}

---@param key string 1 to 64 bytes
---@return number|boolean|string|nil
function lb.shared.get(key) end

---False when there are 1024 other keys already.
---@param key string
---@param value number|boolean|string a text has at most 1024 bytes
---@return boolean
function lb.shared.set(key, value) end

---Adds in one step; the sum, or nil when the store is full.
---@param key string
---@param by? number default 1
---@return number?
function lb.shared.incr(key, by) end

---@param key string
function lb.shared.delete(key) end

---@alias lb.Candidates lb.Pool | lb.Provider[]
---@alias lb.Score fun(p: lb.Provider, arg: any): number?

---@class lb.score
lb.score = {}

---In flight / weight; above 1e12 for weight 0.
---@param p lb.Provider
---@return number
function lb.score.in_flight(p) end

---@param p lb.Provider
---@return number
function lb.score.priority(p) end

---ms; 0 for one that was never measured.
---@param p lb.Provider
---@return number
function lb.score.ttft(p) end

---ms; 0 for one that was never measured.
---@param p lb.Provider
---@return number
function lb.score.latency(p) end

---0 to 1.
---@param p lb.Provider
---@return number
function lb.score.error_rate(p) end

---The request's price at most, 500 tokens of answer when it sets no limit; nil while a price is unknown.
---@param p lb.Provider
---@param req lb.Request
---@return number?
function lb.score.cost(p, req) end

---@class lb.pick
lb.pick = {}

---The lowest score, ties at random; nil, NaN and an infinite one exclude.
---@param pool lb.Candidates
---@param score? lb.Score default lb.score.in_flight, with ties in proportion to the weight
---@param arg? any
---@return integer?
function lb.pick.least(pool, score, arg) end

---The better of two drawn in proportion to the weights.
---@param pool lb.Candidates
---@param score? lb.Score default lb.score.in_flight
---@param arg? any
---@return integer?
function lb.pick.p2c(pool, score, arg) end

---At random in proportion to the weights.
---@param pool lb.Candidates
---@return integer?
function lb.pick.weighted(pool) end

---The lowest tier that has room, there the fewest in flight for the weight. Who has `full` requests per unit of weight
---in flight is taken only when all have; weight 0 comes after those.
---@param pool lb.Candidates
---@param full number
---@param tier? lb.Score default the priority; nil and NaN are behind all tiers
---@param arg? any
---@return integer?
function lb.pick.tiered(pool, full, tier, arg) end

---lb.pick.tiered by what the request costs; who has no price is the last.
---@param pool lb.Candidates
---@param req lb.Request
---@param full number
---@param tokens? number length of an answer without a limit, default 500
---@return integer?
function lb.pick.cheapest(pool, req, full, tokens) end

---Smooth weighted round robin. `current` is a table that the strategy keeps for a round of its own.
---@param pool lb.Candidates
---@param current? table<integer, number> default: one round, common to all calls
---@return integer?
function lb.pick.smooth(pool, current) end

---Weighted rendezvous hashing with bounded load.
---@param pool lb.Candidates
---@param key string|number
---@param factor? number default 1.25; math.huge: no bound
---@return integer?
function lb.pick.rendezvous(pool, key, factor) end

---@class lb.filter
lb.filter = {}

---Those with state "up".
---@param pool lb.Candidates
---@return lb.Provider[]
function lb.filter.healthy(pool) end

---Those with fewer than `max` in flight per unit of weight.
---@param pool lb.Candidates
---@param max number
---@return lb.Provider[]
function lb.filter.below(pool, max) end

---Those with a lower throttle_rate whose rate limits leave something.
---@param pool lb.Candidates
---@param rate? number default 0.1
---@return lb.Provider[]
function lb.filter.not_throttled(pool, rate) end

---Those with the tag, or with that value of it.
---@param pool lb.Candidates
---@param name string
---@param value? string
---@return lb.Provider[]
function lb.filter.tag(pool, name, value) end

---Those for which keep(p, arg) is true.
---@param pool lb.Candidates
---@param keep fun(p: lb.Provider, arg: any): any
---@param arg? any
---@return lb.Provider[]
function lb.filter.where(pool, keep, arg) end

---Those that share the lowest score.
---@param pool lb.Candidates
---@param score lb.Score
---@param arg? any
---@return lb.Provider[]
function lb.filter.lowest(pool, score, arg) end
