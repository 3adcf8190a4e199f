/*
 * options: the command line. One table names every command and flag, and is the source of --help, of the
 * usage errors with suggestions, and of the shell completion.
 *
 * Thread: main, before anything else runs.
 */
#ifndef MOONGATE_DAEMON_OPTIONS_H
#define MOONGATE_DAEMON_OPTIONS_H

#include "script/settings.h"
#include "sim/sim_provider.h"
#include "sim/simulate.h"

enum command {
  COMMAND_RUN,
  COMMAND_DEMO,
  COMMAND_CHECK,
  COMMAND_STRATEGY_CHECK,
  COMMAND_STRATEGY_SIMULATE,
  COMMAND_SIM_PROVIDER,
  COMMAND_VERIFY,
  COMMAND_PROVIDERS,
  COMMAND_TOKEN,
  COMMAND_VERSION,
  COMMAND_HELP,
};

/* verify's flags. */
struct verify_options {
  const char *id;
  const char *host;    /* 127.0.0.1 */
  int port;            /* 3000 */
  const char *api_key; /* a client key of the balancer; NULL: none */
  bool is_json;
};

/* providers' flags: which services of the contract are listed. NULL: any. */
struct market_options {
  const char *model, *type;
  const char *max_price_in, *max_price_out; /* decimal, 0G per million tokens */
  bool is_verifiable, is_json;
};

/* token's flags. */
struct token_options {
  const char *provider;
  double duration_s; /* default 86400 */
};

/* overrides.providers points into provider_list: never copied. */
struct options {
  enum command command; /* version, help and completion print and never get here: OPTIONS_DONE */
  char **argv;          /* the whole command line, to start it again */
  const char *config;   /* run, check, providers, token: path or NULL */
  bool supervise;       /* run: a parent that starts the program again when it dies */
  const char *file;     /* strategy check: FILE */
  const char *topic;    /* help: COMMAND or NULL */
  struct settings_overrides overrides;
  const char *provider_list[256];
  struct sim_options sim;
  struct simulate_options simulate;
  struct verify_options verify;
  struct market_options market;
  struct token_options token;
};

/* What main does after parsing. */
enum options_result {
  OPTIONS_GO,    /* *out is filled */
  OPTIONS_DONE,  /* something was printed (help, version): exit 0 */
  OPTIONS_WRONG, /* a usage error was printed to standard error: exit 2 */
};
enum options_result options_parse(struct options *out, int argc, char **argv);

#endif
