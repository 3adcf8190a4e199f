/*
 * scenario: the made-up world of a simulation: providers with their speed and their faults, and who asks them for what.
 * From a Lua file (checked by scripts/runtime/scenario.lua), or the one that is built in.
 *
 * Thread: a command's.
 */
#ifndef MOONGATE_SIM_SCENARIO_H
#define MOONGATE_SIM_SCENARIO_H

#include "base/buf.h"
#include "model/plan.h"

#define SCENARIO_REQUESTS_DEFAULT 10000
#define SCENARIO_REQUESTS_MAX     10000000
#define SCENARIO_WORKERS_DEFAULT  2
#define SCENARIO_REPORT_MAX       ((size_t)1 << 20)

/* Seconds. */
struct scenario_window {
  double from, to;
};

struct scenario_provider {
  char *id;
  char *model; /* NULL: serves what it is asked for */
  char **tags; /* as in plan_entry */
  double weight, priority;
  double latency_ms; /* mean time of an answer of size 1 while it is not full */
  double jitter;     /* standard deviation as a share of the mean; log-normal */
  double first_byte; /* share of that time until the first byte */
  double parallel;   /* so many answers at full speed; more share that speed */
  double error_rate;
  enum outcome_class error_class;
  double error_ms; /* how soon an error comes that is not a timeout */
  double retry_after_ms;
  double price_in, price_out; /* per token; NaN: unknown */
  unsigned n_down;
  struct scenario_window *down; /* in order, without overlap */
};

/* One kind of request. */
struct scenario_kind {
  double share;
  char *model;                              /* NULL: none is named */
  char *head;                               /* "name: value" lines */
  double stream;                            /* share of those that ask for a stream */
  double tokens_in, tokens_out, max_tokens; /* the last is NaN when the client sets none */
  double size;                              /* multiplies the time of an answer */
};

/* What a strategy is given for its `options`. */
struct scenario_options {
  char *name; /* a preset's, or that of a file without folder and .lua */
  char *text; /* Lua text, as in a plan */
};

struct scenario {
  unsigned n_providers;
  struct scenario_provider *providers;
  unsigned n_kinds;
  struct scenario_kind *kinds;
  double rate;      /* requests per second, at random times; 0: clients */
  unsigned clients; /* each asks again when it has its answer; 0: rate */
  double think_ms;  /* mean pause of a client before that */
  unsigned sessions;
  double skew;       /* session k is asked for 1/k^skew as often as the first */
  unsigned requests; /* 0: until duration_s */
  double duration_s; /* 0: until requests */
  unsigned workers;
  unsigned max_retries;
  uint32_t health_interval_ms;
  unsigned n_options;
  struct scenario_options *options;
};

/* The built-in one: n providers of five characters that take turns. Numbers may be changed before scenario_seal(). */
struct scenario *scenario_new(unsigned n);
/* From a file; NULL with the problems, "file:line: text", one a line. */
struct scenario *scenario_load(const char *path, struct buf *problems);
/* Fills in what is still 0: a rate of about half of what all providers can do, requests, workers. */
void scenario_seal(struct scenario *s);
void scenario_free(struct scenario *s);

#endif
