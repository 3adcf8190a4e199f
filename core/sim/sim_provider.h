/*
 * sim: a simulated OpenAI-compatible provider, for the demo, for trying things, and for tests and load:
 * plausible answers, streamed or not, with delays and faults by option. It speaks through the same connection
 * code as the balancer's front.
 *
 * Thread: its loop's.   Owner: the caller of sim_open().
 */
#ifndef MOONGATE_SIM_SIM_PROVIDER_H
#define MOONGATE_SIM_SIM_PROVIDER_H

#include "net/loop.h"

/* sim-provider's flags. */
struct sim_options {
  const char *host;         /* 127.0.0.1 */
  int port;                 /* required; 0 picks one */
  const char *name;         /* in answers; default "sim" */
  const char *model;        /* listed and answered; default "sim-model" */
  unsigned tokens;          /* of an answer; default 24 */
  double tokens_per_second; /* 0: at once */
  uint32_t latency_ms;      /* before the first byte */
  double error_rate;        /* share of chats answered with `status` */
  int status;               /* of injected errors; default 500 */
  uint32_t retry_after_s;   /* sent with injected 429 and 503; 0: none */
  double hang_rate;         /* share of chats never answered */
  double truncate_rate;     /* share of chats cut in the middle (connection closed) */
  bool res_key;             /* send ZG-Res-Key (default true; --no-res-key) */
  const char *api_key; /* when set, demanded as Bearer: else 401. Taken from the environment variable named by
                          --api-key-env */
  uint64_t seed;
};

struct sim;

/* Listens on o->host:o->port (0: a free one) and serves on `loop`. NULL with a text in err when it cannot. */
struct sim *sim_open(struct loop *loop, const struct sim_options *o, char err[256]);
uint16_t sim_port(const struct sim *s);
/* Ends all connections; its memory goes with sim_free(), after the loop has run on. */
void sim_close(struct sim *s);
void sim_free(struct sim *s);

/* The sim-provider command: serves until SIGINT or SIGTERM. Returns the exit code. */
int sim_main(const struct sim_options *o);
/* Sensible values for everything. */
struct sim_options sim_defaults(void);

#endif
