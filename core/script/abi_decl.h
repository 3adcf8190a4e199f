/* The boundary between C and Lua. Declarations only: these bytes are compiled as C (through abi.h, which adds
   guard, includes and size checks) and handed as they are to LuaJIT's ffi.cdef, so the two cannot drift.
   No preprocessor line, no bit-field, padding spelled out. Within one major version: append only.
   Values cross, ownership does not: views are const for scripts, filled before a call, meaningless after it. */

enum { LB_ABI_MAJOR = 1, LB_ABI_MINOR = 0 };

/* What retry returns. */
enum lb_retry { LB_DEFAULT = 0, LB_NEXT = 1, LB_SAME = 2, LB_STOP = 3 };
/* What health returns. */
enum lb_health { LB_KEEP = 0, LB_UP = 1, LB_DEGRADED = 2, LB_DOWN = 3 };

/* How an attempt ended; same order as OUTCOME_MAP in model/outcome.h. */
enum lb_class {
  LB_CLASS_OK,
  LB_CLASS_CONNECT,
  LB_CLASS_TLS,
  LB_CLASS_DNS,
  LB_CLASS_TIMEOUT_CONNECT,
  LB_CLASS_TIMEOUT_TTFT,
  LB_CLASS_TIMEOUT_IDLE,
  LB_CLASS_TIMEOUT_TOTAL,
  LB_CLASS_RATE_LIMITED,
  LB_CLASS_EXHAUSTED,
  LB_CLASS_AUTH,
  LB_CLASS_OVERLOADED,
  LB_CLASS_SERVER,
  LB_CLASS_BAD_RESPONSE,
  LB_CLASS_STREAM_TRUNCATED,
  LB_CLASS_CLIENT_ERROR,
  LB_CLASS_CONTENT_POLICY,
  LB_CLASS_CLIENT_CLOSED,
  LB_CLASS_N
};

struct lb_text {
  const char *ptr;
  uint32_t len;
  uint32_t pad;
};

/* One candidate. No view that a script can hold contains a pointer; texts are copied into Lua at load. */
struct lb_provider {
  uint32_t index;     /* its place in this call's pool, 1 to #pool */
  uint32_t slot;      /* its place in the configuration, 1 and up; stable within a generation */
  uint32_t in_flight; /* attempts running now, all workers */
  uint32_t pad;
  double weight;   /* configured, 0 and up */
  double priority; /* configured, lower is preferred */
};

/* The rest of what is known about a provider; filled when a script first asks for any of it in a call. */
struct lb_stats {
  uint32_t serial;        /* the call it was filled for */
  uint32_t state_id;      /* enum lb_health: LB_UP, LB_DEGRADED or LB_DOWN */
  uint32_t last_class_id; /* enum lb_class of the attempt settled last */
  uint32_t consecutive_failures;
  uint32_t samples; /* successful attempts measured */
  uint32_t verify_ok;
  uint32_t verify_fail;
  bool verifiable;
  uint8_t pad[3];
  double dispatched;        /* attempts begun since the provider was first configured */
  double latency_ms;        /* EWMA of total time; NaN while samples is 0, as the next three */
  double ttft_ms;           /* EWMA of time to the first byte */
  double tpot_ms;           /* EWMA of time per output token */
  double peak_ttft_ms;      /* EWMA that jumps up at once and decays */
  double error_rate;        /* EWMA, 0 to 1 */
  double throttle_rate;     /* EWMA, 0 to 1 */
  double state_since_at_ms; /* on the clock of lb_abi_now_ms() */
  double cooldown_until_ms; /* the same clock; 0 when there never was a pause */
  double rl_requests_left;  /* the provider's own rate-limit headers; NaN when it sent none */
  double rl_tokens_left;
  double rl_reset_ms;
  double price_in; /* chain fields: NaN until the chain is known */
  double price_out;
  double balance;
  double runway_s;
  double token_expires_s;
};

/* The request that a decision is made for. Scripts read it through the runtime, never in place. */
struct lb_request {
  struct lb_text id;
  struct lb_text kind;  /* "chat", "completions", "embeddings", "images", "audio", "responses", "messages" */
  struct lb_text model; /* as the client named it; empty when it named none */
  struct lb_text session_key; /* X-Session-Id or the body's prompt_cache_key; empty when there is none */
  struct lb_text client;      /* the peer's IP address */
  struct lb_text head;        /* the allow-listed fields, "name: value" lines; read it with req:header() */
  double body_bytes;
  double est_input_tokens; /* body bytes / 4 */
  double max_tokens;       /* NaN when the client set none */
  double elapsed_ms;       /* since the request was complete */
  double deadline_ms;      /* what is left until the total deadline */
  double seed;             /* of req:rand() and req:hash(); the same for all attempts of a request */
  double prefix_hash;      /* of the first 1024 body bytes; 0 when the body is empty */
  uint32_t attempt;        /* 1 for the first */
  uint32_t stream;         /* 0 or 1 */
};

/* How an attempt ended. */
struct lb_outcome {
  uint32_t class_id; /* enum lb_class */
  int32_t status;    /* 0 when no answer came */
  double retry_after_ms;
  double connect_ms; /* NaN when that point was not reached, as the next two */
  double ttft_ms;
  double total_ms;
  double tokens_in; /* NaN when unknown */
  double tokens_out;
  bool committed; /* bytes have reached the client */
  uint8_t pad[7];
};

/* What select sees: n candidates in configuration order. */
struct lb_pool {
  uint32_t n;
  uint32_t key; /* the same candidates have the same key */
};

/* What stands for the request in a script's hands. */
struct lb_request_view {
  uint32_t attempt;
  uint32_t pad;
};

/* Places of a provider's averages from latency_ms on. */
enum lb_average {
  LB_LATENCY_MS = 0,
  LB_TTFT_MS = 1,
  LB_TPOT_MS = 2,
  LB_PEAK_TTFT_MS = 3,
  LB_ERROR_RATE = 5,
  LB_THROTTLE_RATE = 6
};

/* The current call, at one address for a generation's life. The runtime's alone: scripts never see it. */
struct lb_call {
  const struct lb_request *request;
  struct lb_provider *providers; /* by slot, from 0 */
  struct lb_stats *stats;        /* likewise */
  uint32_t serial;
  uint32_t draws; /* numbers that req:rand() has given in this call */
  uint32_t text_len;
  uint32_t pad;
  struct lb_pool pool;
  struct lb_request_view view;
  struct lb_outcome outcome;
  uint16_t order[256];   /* slots of the candidates */
  struct lb_text reason; /* of the evidence for health; ptr NULL: none */
  const double *const
      *averages; /* by slot, from 0: where latency_ms and its neighbours are, see enum lb_average */
  double chosen; /* the number that select returned, from compiled code */
  uint32_t has_chosen;
  uint32_t pad2;
  double scores[256]; /* of a pool's or list's places */
};

/* Functions of the runtime. None blocks, allocates for the other side, or calls Lua. */
double lb_abi_now_ms(void);
double lb_abi_random(void);
int32_t lb_abi_counter_find(const char *name, uint32_t len);
double lb_abi_counter_add(uint32_t counter, double n);
double lb_abi_turn(uint32_t key);
double lb_abi_hash(const char *text, uint32_t len, double seed);
void lb_abi_log(uint32_t level, const char *text, uint32_t len);
void lb_abi_stats_fill(struct lb_call *call, uint32_t slot);
double lb_abi_request_random(struct lb_call *call);
/* Choices among the call's candidates, see lb.pick.* in scripts/runtime/lb.lua; places from 1, 0 when there is nobody. */
uint32_t lb_abi_least(const struct lb_call *call);
uint32_t lb_abi_draw(const struct lb_call *call);     /* in proportion to the weights */
uint32_t lb_abi_draw_two(const struct lb_call *call); /* low 16 bits: one, high 16 bits: another, or 0 */
uint32_t lb_abi_p2c(const struct lb_call *call);
/* Of two drawn the one with the lower number; a number that is none loses. */
uint32_t lb_abi_better(uint32_t both, double first, double second);
uint32_t lb_abi_smooth(struct lb_call *call);
uint32_t lb_abi_rendezvous(const struct lb_call *call, double key, double factor);
/* The lowest tier (call.scores, or the priority) with less than `full` in flight per weight, there the least loaded. */
uint32_t lb_abi_tiered(const struct lb_call *call, double full, bool has_scores);
/* The same where the tier is what so many tokens cost. */
uint32_t lb_abi_cheapest(struct lb_call *call, double tokens_in, double tokens_out, double full);
/* Of the first n in call.scores the lowest, ties at random; NaN and infinite ones are left out. */
uint32_t lb_abi_lowest(const struct lb_call *call, uint32_t n);
const char *lb_abi_request_header(const struct lb_request *req, const char *name, uint32_t len,
                                  uint32_t *out_len);

/* The store of small values common to all workers and generations, see store.h. */
enum lb_store {
  LB_STORE_NOTHING = 0,
  LB_STORE_NUMBER = 1,
  LB_STORE_BOOLEAN = 2,
  LB_STORE_TEXT = 3,
  LB_STORE_BAD_KEY = -1,
  LB_STORE_FULL = -2,
  LB_STORE_BAD_VALUE = -3
};
struct lb_value {
  double number; /* a number, or a boolean as 0 or 1 */
  uint32_t len;
  uint32_t pad;
  char text[1024];
};
int32_t lb_abi_store_get(const char *key, uint32_t len, struct lb_value *out);
int32_t lb_abi_store_set(const char *key, uint32_t len, int32_t kind, double number, const char *text,
                         uint32_t text_len);
int32_t lb_abi_store_incr(const char *key, uint32_t len, double by, struct lb_value *out);
