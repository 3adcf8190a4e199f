/*
 * provider: one upstream as the whole process sees it: its identity, its live counters, and its health. Kept by
 * id across plans (a reload keeps counters, health and sessions); what a configuration says about it (endpoint,
 * key, weight) lives in the plan.
 *
 * Thread: any. Counters are relaxed atomics written by workers and read by everyone. Health is decided here and
 * nowhere else, under the provider's own lock, which is taken for failures, probes and switches, never on the way of a success.
 * Owner: reference counts; a plan holds one per entry.
 * Invariant: in_flight rises in provider_begin() and falls in provider_settle(), once each per attempt.
 */
#ifndef MOONGATE_MODEL_PROVIDER_H
#define MOONGATE_MODEL_PROVIDER_H

#include "base/buf.h"
#include "base/histogram.h"
#include "model/outcome.h"
#include "model/record.h"
#include "wire/limits.h"

#include <pthread.h>

#define PROVIDER_ID_MAX     64
#define PROVIDER_REASON_MAX 600
#define PROVIDER_TOKEN_MAX  1024

enum provider_kind { PROVIDER_DIRECT, PROVIDER_ONCHAIN };
enum provider_state { PROVIDER_UP, PROVIDER_DEGRADED, PROVIDER_DOWN };
enum provider_admin { PROVIDER_ENABLED, PROVIDER_DRAINING, PROVIDER_DISABLED };

/* Why a provider is no candidate now; the first that applies, in this order. */
enum provider_bar {
  PROVIDER_IS_FREE,
  PROVIDER_BARRED_ADMIN,    /* disabled or draining by the operator */
  PROVIDER_BARRED_INIT,     /* could not be initialised (no endpoint, account trouble …) */
  PROVIDER_BARRED_COOLDOWN, /* it asked for a pause, or its account needs one */
  PROVIDER_BARRED_HEALTH,   /* down, or ejected after failures in a row */
  PROVIDER_BAR_N
};

/* Thresholds of health decisions; part of the plan, copied so that this file needs none. */
struct health_rules {
  unsigned fall;          /* probes failing in a row until down (the very first probe: one); 0 is 1 */
  unsigned rise;          /* probes passing in a row until up again; 0 is 1 */
  unsigned eject_after;   /* failed attempts in a row until ejected; 0: never */
  uint32_t eject_base_ms; /* first ejection; doubles each time up to eject_max_ms, until a success */
  uint32_t eject_max_ms;
  uint32_t rate_limit_ms; /* cooldown for a 429 without Retry-After */
  uint32_t account_ms;    /* cooldown for exhausted and auth */
  uint32_t cooldown_max_ms;
};
extern const struct health_rules HEALTH_RULES_DEFAULT;

#define PROVIDER_TTFT_FIRST_US  10000 /* first bounds of the two histograms */
#define PROVIDER_TPOT_FIRST_US  1000
#define PROVIDER_PROBE_FIRST_US 1000

struct provider_counters {
  /* All are accessed with __atomic builtins, relaxed. */
  uint64_t tokens_in, tokens_out;
  uint64_t by_class[OUTCOME_N]; /* attempts settled */
  uint64_t probes_ok, probes_failed;
  struct histogram ttft, tpot; /* of streams that ended well */
  uint64_t retries[OUTCOME_N]; /* of by_class: attempts that were not their requests' first */
  uint64_t ejections[OUTCOME_N], cooldowns[OUTCOME_N]; /* by the class that led to them */
  uint64_t barred[PROVIDER_BAR_N];                     /* choices that it was no candidate for, by why */
  struct histogram probes[2];                          /* how long they took; [1]: those that passed */
  uint32_t verify_ok, verify_fail; /* verified answers; fail: proved not to be what the provider signed */
};

/* A rate limit of the provider's, as it told it. */
struct provider_limit {
  double left; /* NaN: unknown */
  uint64_t reset_at_ms,
      until_ms; /* monotonic: it is full again (0: unknown); from then on nothing is known */
};

struct provider {
  char id[PROVIDER_ID_MAX + 1]; /* the address for on-chain providers */
  enum provider_kind kind;
  uint32_t refs;

  /* Written per attempt by every worker: the first line when it begins, this and the next when it ends well. */
  _Alignas(2 * CACHE_LINE) uint32_t in_flight;
  uint32_t consecutive_failures;
  uint32_t last_class;
  uint32_t samples;    /* successful attempts measured */
  uint64_t dispatched; /* attempts begun */
  double latency_ms;   /* EWMA of the total time of successful attempts; NaN while samples is 0 */
  double ttft_ms;      /* EWMA of the time to the first body byte */
  double tpot_ms;      /* EWMA of the time per output token */
  double peak_ttft_ms; /* jumps up at once, decays with PROVIDER_PEAK_TAU_MS (Finagle's Peak EWMA) */
  uint64_t peak_at_ms;
  double error_rate;    /* EWMA over attempts of "failed by its own fault" */
  double throttle_rate; /* EWMA over attempts of rate_limited */
  struct provider_counters counters;

  /* What its own rate-limit fields said last. Atomics. */
  _Alignas(CACHE_LINE) struct provider_limit requests, tokens;

  /* On chain; written by control. Atomics. */
  double balance;  /* neuron that its sub-account can spend; NaN until it is known */
  double runway_s; /* how long that lasts at the present rate; infinite while nothing is spent */
  uint64_t token_expires_wall_ms; /* 0: there is no session token */
  _Alignas(CACHE_LINE) pthread_mutex_t token_lock;
  uint64_t token_serial; /* from here on under that lock; rises with each token */
  size_t token_len;
  char token[PROVIDER_TOKEN_MAX];        /* "app-sk-…" */
  char token_before[PROVIDER_TOKEN_MAX]; /* the one before: still a credential, so still kept out of texts */

  /* Health. Readable by atomics without the lock; written under it. */
  uint32_t state;                 /* enum provider_state */
  uint32_t admin;                 /* enum provider_admin */
  uint32_t comebacks;             /* how often it was up again after it had been down */
  uint64_t state_since_ms;        /* monotonic */
  uint64_t cooldown_until_ms;     /* any pause it asked for or its account needs */
  uint64_t rate_limited_until_ms; /* the part of it that holds even when nobody else is left */
  uint64_t ejected_until_ms;
  uint64_t last_probe_wall_ms; /* 0: not probed yet */
  uint32_t is_initialised;
  uint32_t is_unverified;    /* the last verification failed */
  uint32_t ejections_in_row; /* since the last success, which resets it without the lock */
  pthread_mutex_t lock;
  char unverified[PROVIDER_REASON_MAX /
                  2];               /* why an answer failed its verification; empty: none since one passed */
  char reason[PROVIDER_REASON_MAX]; /* why it is no candidate; from here on under the lock */
  unsigned probe_fails, probe_passes;
  bool was_probed;
  enum outcome_class ejected_for;
  bool is_models_cut;
  char *models; /* what it said it serves, one name a line; under the lock; NULL: it has not said */
};

#define PROVIDER_MODELS_MAX 16384

#define PROVIDER_PEAK_TAU_MS 10000.0
/*
 * The other averages move by this share of the difference per sample, from the first sample on (rates: from 0). Workers
 * update them without a lock, so now and then a sample is lost, which harms nobody.
 */
#define PROVIDER_EWMA_ALPHA 0.1

/* Starts up, enabled and initialised: the first probe or provider_set_init() may say otherwise. */
struct provider *provider_new(const char *id, enum provider_kind kind, uint64_t now_ms);
struct provider *provider_ref(struct provider *p);
void provider_unref(struct provider **p);

/* ---- attempts ---- */
void provider_begin(struct provider *p);
/*
 * What a settlement or probe changed, for the caller to log once. CAME_UP: a probe ended a DOWN state or an
 * ejection. COOLING: a pause began (one that only grew longer is no news).
 */
enum health_event { HEALTH_SAME, HEALTH_WENT_DOWN, HEALTH_CAME_UP, HEALTH_EJECTED, HEALTH_COOLING };
/*
 * By class: failures that harm health count towards an ejection; after an ejection has ended one more is enough,
 * until a success. rate_limited pauses for Retry-After, exhausted and auth for account_ms, and overloaded with a
 * Retry-After for that long unless nobody else is left; pauses only grow.
 * client_error and content_policy leave health alone, client_closed the averages too.
 */
enum health_event provider_settle(struct provider *p, const struct outcome *o,
                                  const struct health_rules *rules, uint64_t now_ms);

/* The times of a stream that ended well, into the histograms. */
void provider_note_stream(struct provider *p, const struct outcome *o);

/* ---- rate limits: provider_limits.c ---- */

/* What an answer's head said; it holds until the limit is full again, or a minute when that is not told. */
void provider_note_limits(struct provider *p, const struct limits *l);
struct provider_rest {
  double requests_left, tokens_left; /* NaN: unknown */
  double reset_ms;                   /* until both are full again; NaN: unknown */
};
void provider_read_limits(const struct provider *p, struct provider_rest *out);

/* ---- session tokens ---- */
/*
 * Control alone. Replaces the token (empty: takes it away); what is replaced is wiped. The token and the one before it
 * are known to the redactor.
 */
void provider_set_token(struct provider *p, struct span token, uint64_t expires_wall_ms);
/* Any thread: a copy, and which one it is; the length, 0 when there is none. Takes no longer than the copy. */
size_t provider_copy_token(struct provider *p, char out[PROVIDER_TOKEN_MAX], uint64_t *serial);
/* The trouble with its account or token is over: ends a pause that was for it, not one for a rate limit. */
void provider_end_account_pause(struct provider *p, uint64_t now_ms);

/* ---- probes, switches, initialisation ---- */
/*
 * A passing probe also ends an ejection at once when that was for want of a connection (connect, dns, tls,
 * timeout_connect); the others sit out their time, since a model list says nothing about answers.
 */
enum health_event provider_probed(struct provider *p, bool ok, const char *reason,
                                  const struct health_rules *rules, uint64_t now_ms, uint64_t wall_ms);
/*
 * The verdict of a strategy's health callback on a probe or a window of attempts. `state` -1 keeps the state as it is.
 * Up also ends an ejection. A probe is counted and noted as in provider_probed().
 */
enum health_event provider_judged(struct provider *p, int state, const char *reason, bool is_probe, bool ok,
                                  uint64_t now_ms, uint64_t wall_ms);
/* How long a probe took that got a verdict. */
void provider_note_probe(struct provider *p, bool ok, double latency_ms);
void provider_switch(struct provider *p, enum provider_admin admin);
/* `reason` NULL: it is ready. Otherwise it is listed unhealthy with the reason and never a candidate. */
void provider_set_init(struct provider *p, const char *reason);

/*
 * An answer was verified. One that failed makes the provider DEGRADED, with a reason that stays until one passes.
 */
void provider_verified(struct provider *p, bool ok, const char *reason, uint64_t now_ms);

/* What its model list says, one name a line; at most PROVIDER_MODELS_MAX bytes. is_whole: it has no other names. */
void provider_set_models(struct provider *p, struct span names, bool is_whole);
/* Rises whenever any provider's list has changed. */
uint64_t provider_models_version(void);

/* ---- reading ---- */
enum provider_bar provider_barred(const struct provider *p, uint64_t now_ms);
/* It was left out of a choice for that. */
void provider_note_barred(struct provider *p, enum provider_bar bar);
const char *provider_bar_name(enum provider_bar bar);
/* What a row of counters by class comes to. */
uint64_t provider_sum(const uint64_t by_class[OUTCOME_N]);
/* As barred, when nobody is free: only the operator's switch, initialisation and a rate-limit pause still count. */
enum provider_bar provider_barred_in_panic(const struct provider *p, uint64_t now_ms);
/* Up or degraded, initialised and not ejected: what /health calls isHealthy. */
bool provider_is_healthy(const struct provider *p, uint64_t now_ms);
/* Milliseconds until both pause and ejection have ended; 0 when there is none. */
uint64_t provider_free_in_ms(const struct provider *p, uint64_t now_ms);
/* Why it is out or in doubt; empty when it is neither, or when what the reason names is over. */
void provider_copy_reason(struct provider *p, char out[PROVIDER_REASON_MAX], uint64_t now_ms);
/* Whether the names of provider_set_models() include this one; nothing: it has not said any, or not all. */
enum provider_listing { PROVIDER_LISTS_NOTHING, PROVIDER_LISTS_OTHERS, PROVIDER_LISTS_IT };
enum provider_listing provider_lists(struct provider *p, struct span model);
/* Appends the names of provider_set_models(); `out` must have room for PROVIDER_MODELS_MAX bytes. */
void provider_put_models(struct provider *p, struct buf *out);
const char *provider_state_name(enum provider_state s);
const char *provider_admin_name(enum provider_admin a);

/* True for "0x" and 40 hexadecimal digits. */
bool provider_id_is_address(struct span id);
/* Equal; addresses without case. */
bool provider_id_eq(struct span a, struct span b);
/* The address that an id is, whatever the case of its letters; false when it is none. */
bool provider_id_address(struct address *out, struct span id);

/*
 * The registry: all providers of the process by id. It keeps a provider as long as somebody else does; one that no
 * plan names any more goes with the next registry_get().
 */
struct registry;
struct registry *registry_new(void);
void registry_free(struct registry *r);
/* An existing provider with that id, or a new one; the caller gets a reference. */
struct provider *registry_get(struct registry *r, const char *id, enum provider_kind kind, uint64_t now_ms);

/*
 * What the contract says, by address; one record each, sorted by address. Put in by control, found when plans are built.
 * Takes over the caller's reference; a record that is the same as the one there leaves that one. True when it is news.
 */
bool registry_put_record(struct registry *r, struct record *record);
/* The contract does not know that address (any more). True when it did before. */
bool registry_drop_record(struct registry *r, const struct address *provider);
/* Counted for the caller; NULL when there is none. */
struct record *registry_record(struct registry *r, struct span id);
/* All of them, counted, in an array to be freed; *n is how many. */
struct record **registry_records(struct registry *r, size_t *n);

#endif
