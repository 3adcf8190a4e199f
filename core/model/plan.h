/*
 * plan: everything one generation of the configuration says, checked and immutable: settings, providers with
 * their endpoints, who may serve which model, and the strategy's source text. Built by control, shared by all
 * threads, freed with the last reference.
 *
 * Thread: any (read-only after plan_seal()). Owner: reference counts (atomic).
 */
#ifndef MOONGATE_MODEL_PLAN_H
#define MOONGATE_MODEL_PLAN_H

#include "base/log.h"
#include "model/provider.h"
#include "model/record.h"
#include "model/strategy_stats.h"

#define PLAN_PROVIDERS_MAX 256
#define MODEL_NAME_MAX     256
/* What a provider accepts at most. */
#define PLAN_TOKEN_LIFETIME_MS ((uint64_t)24 * 3600 * 1000)

/* A set of provider slots. */
struct slot_set {
  uint64_t w[PLAN_PROVIDERS_MAX / 64];
};
static inline void slot_add(struct slot_set *s, unsigned slot) {
  s->w[slot / 64] |= (uint64_t)1 << (slot % 64);
}
static inline bool slot_has(const struct slot_set *s, unsigned slot) {
  return (s->w[slot / 64] >> (slot % 64)) & 1;
}

/* An http(s) endpoint taken apart. */
struct endpoint {
  char *text; /* as configured, without trailing slashes */
  bool is_tls;
  char *host;      /* without brackets; lower case */
  char *authority; /* value of the Host field */
  uint16_t port;
  char *path; /* "" or "/v1" … */
};

/*
 * What the configuration and the contract say about one provider. Its slot is its index in plan.entries. Where both
 * name an endpoint or a model, the configuration's counts.
 */
struct plan_entry {
  struct provider *provider;
  struct record
      *record; /* counted; NULL: a direct one, or the contract has not been read or does not know it */
  const struct service *service; /* of the record; NULL without one */
  bool has_endpoint;
  struct endpoint endpoint; /* of a record: its url and "/v1/proxy" */
  char *service_url;        /* on chain: the endpoint without "/v1/proxy", when it ends in that; else NULL */
  bool is_endpoint_of_record, is_model_of_record;
  bool is_public_only; /* a stranger chose the endpoint: no call of it goes into a private network */
  bool is_private_url; /* which is where it leads by its spelling: it has no endpoint then */
  char *model;         /* NULL: the request's model is left as it is */
  char *api_key;       /* NULL: no Authorization is sent */
  char *health_path;   /* joined to the endpoint; NULL: "/models", and a 404 there is no failure */
  double weight;
  double priority;       /* lower is preferred */
  char **tags;           /* "name=value", NULL-terminated */
  bool takes_unverified; /* on chain: used although its service cannot be verified */
  bool has_price;
  double price_in, price_out; /* neuron per token (of a made-up provider: any unit) */
};

/* One discover{} of the configuration: which services of the contract are providers, too. */
struct plan_discover {
  char *model;        /* NULL: any */
  char *service_type; /* NULL: any */
  bool is_verifiable; /* only those whose answers can be verified */
  bool has_max_in, has_max_out;
  struct u256 max_in, max_out; /* neuron, as fee_for_people() */
  unsigned limit;              /* at most so many; 0: no limit */
  double weight, priority;     /* of each */
  char **tags;
  bool takes_unverified;
};

struct plan_timeouts {
  uint32_t connect, first_byte, idle, total, client_header, client_idle, queue, drain; /* ms */
};

/* What may be done with the wallet's money without asking. Amounts are neuron. */
struct funding_rules {
  bool is_on;               /* false: money never moves */
  struct u256 ledger_min;   /* what the ledger is to have at hand */
  struct u256 per_provider; /* what each sub-account is to have beyond what is owed */
  struct u256 max;          /* of the process's life */
};

struct chain_settings {
  char **nodes;                   /* URLs, NULL-terminated; empty: none. They may hold keys */
  bool has_ledger, has_inference; /* else by chain id */
  struct address ledger, inference;
  bool is_dev;        /* where a chain has contracts for development, those */
  bool takes_private; /* providers at addresses that are no public ones */
  struct funding_rules funding;
  uint64_t token_lifetime_ms;
  uint32_t refresh_ms; /* between two readings of a service and its account */
};

/* Which answers are verified without being asked for. */
enum verify_answers { VERIFY_ON_DEMAND, VERIFY_SAMPLE, VERIFY_ALL };

struct settings {
  char *host;
  uint16_t port;
  unsigned workers; /* 0: one per core */
  unsigned max_retries;
  uint32_t health_interval_ms, health_timeout_ms;
  uint64_t session_timeout_ms;
  size_t max_sessions;
  char *session_store; /* path; NULL: the usual place, "": nowhere */
  uint64_t max_session_store_bytes;
  size_t max_body_bytes;
  size_t max_buffered_bytes; /* request bodies held by the whole process; above it new ones get 503 */
  unsigned max_connections;  /* of clients; 0: as many as descriptors allow */
  unsigned max_connections_per_address; /* 0: no bound */
  unsigned max_active_requests;         /* balanced ones that run at a time; 0: no bound */
  unsigned max_queued_requests;         /* that wait for a turn, at most timeouts.queue */
  char **forward_headers;               /* lower case, NULL-terminated */
  struct plan_timeouts timeouts;
  uint32_t body_rate_bytes, body_rate_window_ms; /* a request body slower than this ends with 408 */
  bool strict_models;
  bool panic_refuse;
  enum verify_answers verify_answers;
  double verify_sample_rate; /* of VERIFY_SAMPLE: a share, 0 to 1 */
  double retry_budget;       /* share of active requests */
  unsigned retry_budget_min;
  char **client_keys;  /* NULL-terminated; empty: open */
  char *admin_token;   /* NULL: loopback peers only */
  char **cors_origins; /* NULL-terminated; empty: CORS off; "*" allows all */
  char *tls_ca;        /* NULL: the system's */
  bool reload_watch, reload_canary;
  bool guard_is_fast;      /* scripts of the operator run compiled */
  uint32_t call_budget_us; /* processor time of one callback */
  enum log_level log_level;
  enum log_format log_format;
  struct health_rules health;
  struct chain_settings chain;
  char *upstream; /* "native", or "curl" for libcurl on http:// too */
};

struct model_route {
  char *name;
  struct slot_set slots;
  char **found; /* addresses that discover{} may find, NULL-terminated; NULL: none */
};

/* What a request asks for. */
enum plan_work {
  WORK_CHAT,
  WORK_IMAGES,
  WORK_IMAGE_EDITS,
  WORK_TRANSCRIPTION,
  WORK_SPEECH,
  WORK_EMBEDDINGS,
  WORK_N
};

struct plan {
  uint32_t refs;
  uint64_t generation; /* 1, 2, 3 … */
  char *config_path;   /* NULL: no file */
  struct settings settings;
  unsigned n_entries;
  struct plan_entry *entries; /* as configured, then what discover{} found */
  unsigned n_configured;
  struct plan_discover *discovers;
  unsigned n_discovers;
  struct slot_set all;
  struct slot_set open; /* direct ones without a model of their own: they serve what they list themselves */
  struct slot_set others[WORK_N]; /* of each work: the services on chain that do another one */

  /* models: sorted by name after plan_seal(). `routes` are the operator's names, `own` the providers' models. */
  unsigned n_routes, n_own;
  struct model_route *routes, *own;

  /* strategy */
  char *strategy_name;          /* as configured: a preset's name or a path */
  char *strategy_path;          /* file it came from; NULL: embedded */
  struct span strategy_source;  /* owned when strategy_path is set */
  char *strategy_options;       /* Lua text "return {…}" with plain data */
  char *strategy_options_at;    /* "file:line" that says them; NULL: nobody did */
  struct strategy_stats *stats; /* counted into while the rest is read-only */
};

/* Numbers and switches carry the contract's defaults; texts and lists are NULL until somebody fills them. */
struct plan *plan_new(void);
struct plan *plan_ref(struct plan *p);
/* The last one wipes and frees everything that the plan points at. */
void plan_unref(struct plan **p);
/* Before the plan is shared: takes over the strategy (name, source, options) of another one, as copies. */
void plan_take_strategy(struct plan *p, const struct plan *from);
/*
 * Fills in what the contract says, as far as the registry knows it: records, endpoints and models of the entries that
 * are on chain, and an entry for each service that a discover{} finds (in order of their addresses). Once, after the
 * configured entries and routes are there and before plan_seal().
 */
void plan_resolve(struct plan *p, struct registry *registry);
/* A new plan, sealed, from the same configuration and strategy and from what the registry knows now. */
struct plan *plan_derive(const struct plan *from, struct registry *registry);
/* Whether plan_derive() would give a plan that differs. */
bool plan_is_outdated(const struct plan *p, struct registry *registry);
/*
 * Gives texts that are still NULL their defaults (host, upstream, strategy name and options), lists that are NULL an
 * empty list, and builds `all` and the model tables; the plan is read-only afterwards.
 */
void plan_seal(struct plan *p);

/*
 * Tells the providers whether they are ready: one on chain without an endpoint waits for what the contract says, and
 * whoever reads that judges it then. Providers may be those that serve: only for a plan that takes over.
 */
void plan_init_providers(const struct plan *p);

/*
 * Parses an http(s) URL without query, fragment or userinfo. NULL on success, else a static text (then *out is
 * empty and may be released all the same). Dot segments and bytes that need escaping are refused, not repaired.
 */
const char *endpoint_parse(struct endpoint *out, struct span url) MUST_CHECK;
void endpoint_release(struct endpoint *e);

/*
 * Who may serve a request for `model` (empty: none was named, everyone): the operator's entry for that name; else
 * the providers whose own model it is; else those without a model of their own that list it, and those that list
 * nothing; else everyone, or false with strictModels. A provider without a model of its own is therefore not asked while
 * another one has exactly that model. Lists change with health checks: flow/served keeps the answer until then.
 */
bool plan_who_serves(const struct plan *p, struct slot_set *out, struct span model);
/* Whether the answer to that may change while the plan stays. */
bool plan_has_open(const struct plan *p);
/*
 * Takes those out whose service on chain does other work by its type ("chatbot", "text-to-image", "image-editing",
 * "speech-to-text", "embedding"; one of another type, and a direct provider, may do any). False when nobody is left.
 */
bool plan_keep_who_does(const struct plan *p, struct slot_set *serves, enum plan_work work);
/*
 * Who may be tried now, in configuration order: those of `serves` without `tried` that nothing bars; when that leaves nobody,
 * those that only bad health or a pause for their account bars, unless `panic = "refuse"`. Returns their number; `out` has
 * room for PLAN_PROVIDERS_MAX slots.
 */
unsigned plan_candidates(const struct plan *p, uint16_t *out, const struct slot_set *serves,
                         const struct slot_set *tried, uint64_t now_ms);
/* Retries that may run at once while `active` requests do. */
double settings_retry_limit(const struct settings *s, uint32_t active);
/* Slot of the provider with that id, or -1. Ids compare without case when they are addresses. */
int plan_find(const struct plan *p, struct span id);

#endif
