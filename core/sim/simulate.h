/*
 * simulate: a strategy over made-up providers and clients, in virtual time. The strategy, its guard rails, the averages,
 * the health rules and the order of retries are those of the service; providers, network and clock are made up. All chance
 * follows one seed, and is drawn for each request, attempt and provider on its own, so that two strategies under one
 * seed meet the same requests and the same luck.
 *
 * Thread: a command's; nothing else may run in the process, since the clock is replaced.
 *
 *   arrival ──► select ──► attempt: service ──► first byte ──► end ──► settle, observe ──► answered
 *                 ▲           └──────── fault ─────────────────┘            │ failed, nothing sent
 *                 └───────────── delay, retry budget ◄──── retry ◄─────────┘ ──► failed
 */
#ifndef MOONGATE_SIM_SIMULATE_H
#define MOONGATE_SIM_SIMULATE_H

#include "sim/samples.h"
#include "sim/scenario.h"
#include "script/decide.h"

/* Causes of a request's failure: how its last attempt ended, or nobody to ask. */
#define SIMULATE_NOBODY OUTCOME_N
#define SIMULATE_CAUSES (OUTCOME_N + 1)

struct simulate_row {
  const char *id; /* the scenario's */
  double weight;
  uint64_t requests; /* attempts */
  uint64_t failures; /* of those */
  double share;      /* of all attempts, 0 to 1 */
  struct times answers;
  unsigned max_in_flight;
  unsigned in_flight; /* at the end: 0 */
  uint64_t ejections;
};

struct simulate_result {
  const char *strategy; /* as it was named; the caller's */
  unsigned n_rows;
  struct simulate_row *rows;
  uint64_t requests, answered, failed;
  uint64_t failed_by[SIMULATE_CAUSES];
  char reason[DECIDE_REASON_MAX]; /* the first that the strategy gave for choosing nobody */
  uint64_t attempts, retries;
  struct times answers; /* from arrival to the last byte */
  double fairness;      /* Jain's index of attempts per weight: 1 is even, 1/n is all at one */
  double cost;          /* of the answers, where prices are known; NaN when none is */
  double seconds;       /* of virtual time */
  uint64_t script_errors;
  unsigned benched; /* workers whose strategy failed too often and was put aside */
  char last_error[SCRIPT_ERROR_MAX];
};

/* `strategy`: a preset's name or a file. False with a text in err. */
bool simulate_run(struct simulate_result *out, const struct scenario *s, const char *strategy, uint64_t seed,
                  char err[SCRIPT_ERROR_MAX]);
void simulate_release(struct simulate_result *r);

/* strategy simulate's flags; numbers are 0 when not given. */
struct simulate_options {
  const char *strategy; /* FILE|PRESET */
  const char *other;    /* --compare: the same, NULL: none */
  const char *scenario; /* file, NULL: the built-in one */
  unsigned providers, requests, clients, workers;
  double rate;       /* requests per second */
  double duration_s; /* of virtual time */
  uint64_t seed;     /* default 1 */
  bool is_json;
};

/* `strategy simulate`; returns the exit code. */
int simulate_main(const struct simulate_options *o);

#endif
