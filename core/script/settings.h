/*
 * settings: from a configuration file (a Lua table) and command line overrides to a plan, with every problem
 * found named by file and line.
 *
 * Thread: control (or a command). The file runs in a throw-away Lua state without I/O; it sees plain Lua and env().
 */
#ifndef MOONGATE_SCRIPT_SETTINGS_H
#define MOONGATE_SCRIPT_SETTINGS_H

#include "base/buf.h"
#include "eth/key.h"
#include "model/plan.h"

/* Values from the command line; they win over the file. Strings are borrowed. */
struct settings_overrides {
  const char *host;
  int port; /* -1: not given; 0 picks a free one */
  const char *strategy;
  const char *strategy_from;    /* what messages call it; NULL: the flag */
  const char *const *providers; /* "0x…" or a URL each; when given they replace the file's list */
  unsigned n_providers;
  long max_retries, health_interval_ms, session_timeout_ms, workers; /* -1: not given */
  const char *rpc;
  const char *log_level, *log_format;
};

/* Problems found, one per line, "file:line: text"; the caller releases it. */
struct settings_report {
  struct buf problems;
  unsigned n_problems;
  struct buf warnings; /* same form; they do not stop a start */
  unsigned n_warnings;
  struct key *
      key; /* the wallet's, when the configuration or the environment gave one; the caller may take it over */
  struct plan *
      trial; /* the strategy alone, to be tried all the same; NULL when that is out of order, too, or nothing is */
};
void settings_report_init(struct settings_report *r);
void settings_report_release(struct settings_report *r);

/*
 * Builds a sealed plan from `path` (NULL: defaults and overrides only) or, when `text.ptr` is set, from that text
 * under the name `path`. Providers come from the registry (kept by id). NULL when anything is wrong; the report
 * says what. Secrets found (api keys, tokens) are registered with redact_add(). A private key is in report->key alone:
 * the state that read it is wiped.
 */
struct plan *settings_load(struct settings_report *report, const char *path, struct span text,
                           const struct settings_overrides *overrides, struct registry *registry);

#endif
