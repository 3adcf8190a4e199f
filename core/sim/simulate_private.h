/* For the files of simulate: the state of a run, its events, and what one file asks of another. */
#ifndef MOONGATE_SIM_SIMULATE_PRIVATE_H
#define MOONGATE_SIM_SIMULATE_PRIVATE_H

#include "base/list.h"
#include "sim/dice.h"
#include "sim/labour.h"
#include "sim/simulate.h"

enum {
  ON_ARRIVAL,    /* who: client */
  ON_SERVICE,    /* who: provider; version */
  ON_FIRST_BYTE, /* who: chat; version: of its attempt; the next five, too */
  ON_LAST_BYTE,
  ON_FAULT,
  ON_FIRST_BYTE_LIMIT,
  ON_RETRY,
  ON_DEADLINE, /* who: chat; version: its number */
  ON_PROBE,    /* who: provider; version */
  ON_DOWN,     /* who: provider; version: the window */
  ON_UP,
  ON_TICK,
  ON_WINDOW,
};

/* What the numbers of a draw are for. */
enum { DRAW_ARRIVALS = 1, DRAW_REQUEST, DRAW_ATTEMPT, DRAW_CLIENT, DRAW_WORKER, DRAW_PROBE };

struct made_up {
  const struct scenario_provider *spec;
  struct provider *provider;
  struct labour labour;
  struct list served; /* chats whose answers share its speed */
  bool is_down;
  uint32_t service_version, probe_version;
  struct log_normal times;
  struct samples answers;
  uint64_t requests, failures;
  unsigned max_in_flight;
  uint64_t seen_attempts, seen_failures; /* when the last window was closed */
};

enum chat_state { CHAT_FREE, CHAT_TRYING, CHAT_DELAYED };

/* One request with all its attempts. */
struct chat {
  struct list node; /* in made_up.served, or alone */
  enum chat_state state;
  uint32_t index;   /* in simulation.chats */
  uint32_t number;  /* 1, 2, 3 … in order of arrival */
  uint32_t version; /* of the attempt or the delay; never goes back */
  unsigned client;
  const struct scenario_kind *kind;
  struct sim_worker *worker;
  uint64_t started_us, began_us, budget_wait_until_ms;
  bool is_stream, is_served, holds_retry;
  double tokens_in, tokens_out, seed, prefix_hash;
  char id[24], session[24], peer[24];
  struct slot_set serves, tried;
  uint16_t planned[PLAN_PROVIDERS_MAX];
  unsigned n_planned, next_planned, n_attempts;
  unsigned slot;
  struct outcome outcome;
  enum outcome_class fault; /* what this attempt will end with */
  double left_ms;           /* of the service, from the first byte on */
};

struct sim_worker {
  struct generation *generation;
  struct rng rng;
};

struct simulation {
  const struct scenario *scenario;
  uint64_t seed, now_us, end_us; /* nobody arrives after end_us */
  struct plan *plan;
  struct event_queue queue;
  struct sim_worker *workers;
  struct generation *judge; /* asked for health, as control's own is */
  struct made_up *providers;
  struct chat **chats;
  uint32_t *free_chats;
  uint32_t n_chats, n_free;
  uint32_t n_arrivals; /* in the queue */
  uint32_t n_begun, n_active, active_retries, n_max;
  struct rng arrivals;
  double *kinds_up_to, *sessions_up_to; /* cumulated shares, the last is 1 */
  struct samples answers;
  struct decision decision;
  struct simulate_result *out;
};

/* simulate.c: events, so many ms from now */
void simulate_in_ms(struct simulation *sim, double ms, uint32_t kind, uint32_t who, uint32_t version);
void simulate_add_arrival(struct simulation *sim, uint32_t client, double ms);

/* simulate_chat.c */
void simulate_begin_chat(struct simulation *sim, uint32_t client);
/* One of the events of chats. */
void simulate_chat_event(struct simulation *sim, const struct event *e);
void simulate_service_event(struct simulation *sim, struct made_up *p);
/* Connections break: a stream in the middle, the rest before anything has come. */
void simulate_break_chats(struct simulation *sim, struct made_up *p);

/* simulate_health.c */
void simulate_begin_health(struct simulation *sim);
/* The next probe of this provider, in place of the one that was due. */
void simulate_probe_in(struct simulation *sim, struct made_up *p, double ms);
void simulate_probe(struct simulation *sim, struct made_up *p);
void simulate_close_windows(struct simulation *sim);

/* simulate_plan.c: NULL with a text in err. */
struct plan *simulate_plan(const struct scenario *s, const char *strategy, char err[SCRIPT_ERROR_MAX]);

#endif
