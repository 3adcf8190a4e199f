/*
 * options: the command line. One table names every command and flag, and is the source of --help, of the
 * usage errors with suggestions, and of the shell completion.
 *
 * Thread: main, before anything else runs.
 */
#ifndef MOONGATE_DAEMON_OPTIONS_H
#define MOONGATE_DAEMON_OPTIONS_H

#include "script/settings.h"

enum command {
  COMMAND_RUN,
  COMMAND_DEMO,
  COMMAND_CHECK,
  COMMAND_STRATEGY_CHECK,
  COMMAND_STRATEGY_SIMULATE,
  COMMAND_SIM_PROVIDER,
  COMMAND_VERIFY,
  COMMAND_VERSION,
  COMMAND_HELP,
};

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

/* verify's flags. */
struct verify_options {
  const char *id;
  const char *host;    /* 127.0.0.1 */
  int port;            /* 3000 */
  const char *api_key; /* a client key of the balancer; NULL: none */
  bool is_json;
};

/* overrides.providers points into provider_list: never copied. */
struct options {
  enum command command; /* version, help and completion print and never get here: OPTIONS_DONE */
  char **argv;          /* the whole command line, to start it again */
  const char *config;   /* run, check: path or NULL */
  bool supervise;       /* run: a parent that starts the program again when it dies */
  const char *file;     /* strategy check: FILE */
  const char *topic;    /* help: COMMAND or NULL */
  struct settings_overrides overrides;
  const char *provider_list[256];
  struct sim_options sim;
  struct simulate_options simulate;
  struct verify_options verify;
};

/* What main does after parsing. */
enum options_result {
  OPTIONS_GO,    /* *out is filled */
  OPTIONS_DONE,  /* something was printed (help, version): exit 0 */
  OPTIONS_WRONG, /* a usage error was printed to standard error: exit 2 */
};
enum options_result options_parse(struct options *out, int argc, char **argv);

/* For suggestions: the edit distance in which two neighbours that changed places count once, and whether it is small. */
unsigned options_distance(const char *a, const char *b);
bool options_is_near(const char *name, unsigned distance);

#endif
