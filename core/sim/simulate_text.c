/* simulate_text: the command around simulate_run(): what the flags change in a scenario, and what is printed. */
#include "sim/simulate.h"

#include "base/log.h"
#include "script/guard.h"
#include "wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX   ((size_t)1 << 20)
#define NAME_WIDTH 20
#define COLUMN     20

/* ---- numbers ---- */

/* NaN is a dash. */
static const char *shown(char out[32], double x, int digits) {
  if (isnan(x))
    (void)snprintf(out, 32, "-");
  else
    (void)snprintf(out, 32, "%.*f", digits, x);
  return out;
}

/* So few digits that a reader can compare them. */
static double rounded(double x) {
  return round(x * 1000) / 1000;
}

static const char *cause_name(unsigned cause) {
  return cause == SIMULATE_NOBODY ? "no_available_provider" : outcome_name((enum outcome_class)cause);
}

/* ---- one run as a table ---- */

static void put_rows(struct buf *b, const struct simulate_result *r) {
  char p50[32], p90[32], p99[32];
  buf_putf(b, "%-*s %8s %9s %9s %9s %9s %9s %14s\n", NAME_WIDTH, "provider", "share", "requests", "failures",
           "p50 ms", "p90 ms", "p99 ms", "max in flight");
  for (unsigned i = 0; i < r->n_rows; i++) {
    const struct simulate_row *row = &r->rows[i];
    buf_putf(b, "%-*s %6.2f %% %9llu %9llu %9s %9s %9s %14u\n", NAME_WIDTH, row->id, 100 * row->share,
             (unsigned long long)row->requests, (unsigned long long)row->failures,
             shown(p50, row->answers.p50_ms, 1), shown(p90, row->answers.p90_ms, 1),
             shown(p99, row->answers.p99_ms, 1), row->max_in_flight);
  }
}

static void put_causes(struct buf *b, const struct simulate_result *r) {
  const char *gap = "  (";
  for (unsigned i = 0; i < SIMULATE_CAUSES; i++) {
    if (!r->failed_by[i]) continue;
    buf_putf(b, "%s%s %llu", gap, cause_name(i), (unsigned long long)r->failed_by[i]);
    gap = ", ";
  }
  buf_putf(b, "%s\n", r->failed ? ")" : "");
}

static void put_total(struct buf *b, const char *name, double x, int digits) {
  char text[32];
  buf_putf(b, "%-*s %10s\n", NAME_WIDTH, name, shown(text, x, digits));
}

static void put_errors(struct buf *b, const struct simulate_result *r) {
  put_total(b, "script errors", (double)r->script_errors, 0);
  if (r->last_error[0]) buf_putf(b, "  the last: %s\n", r->last_error);
  if (r->benched) buf_putf(b, "  put aside in %u workers: the built-in choice took over\n", r->benched);
}

static void put_run(struct buf *b, const struct simulate_result *r) {
  char text[32];
  put_rows(b, r);
  buf_putf(b, "\n");
  put_total(b, "requests", (double)r->requests, 0);
  buf_putf(b, "%-*s %10s", NAME_WIDTH, "failed", shown(text, (double)r->failed, 0));
  put_causes(b, r);
  if (r->reason[0]) buf_putf(b, "  the strategy chose nobody: %s\n", r->reason);
  put_total(b, "retries", (double)r->retries, 0);
  put_total(b, "mean ms", r->answers.mean_ms, 1);
  put_total(b, "p50 ms", r->answers.p50_ms, 1);
  put_total(b, "p90 ms", r->answers.p90_ms, 1);
  put_total(b, "p99 ms", r->answers.p99_ms, 1);
  put_total(b, "fairness", r->fairness, 4);
  if (!isnan(r->cost)) put_total(b, "cost", r->cost, 2);
  put_errors(b, r);
}

static void put_heading(struct buf *b, const struct scenario *s, const struct simulate_result *r,
                        uint64_t seed) {
  char load[64];
  if (s->clients)
    (void)snprintf(load, sizeof load, "%u clients", s->clients);
  else
    (void)snprintf(load, sizeof load, "%.6g requests per second", s->rate);
  buf_putf(b, "%.1f s of virtual time, %s, %u worker%s, seed %llu\n\n", r->seconds, load, s->workers,
           s->workers == 1 ? "" : "s", (unsigned long long)seed);
}

/* ---- two runs side by side ---- */

static void put_pair(struct buf *b, const char *name, double x, double y, int digits) {
  char first[32], second[32], difference[32];
  (void)snprintf(difference, sizeof difference, "%+.*f", digits, y - x);
  bool is_same = !isnan(x) && !isnan(y) && fabs(y - x) < pow(10, -digits) / 2;
  if (is_same) (void)snprintf(difference, sizeof difference, "=");
  if (isnan(y - x)) (void)snprintf(difference, sizeof difference, "-");
  buf_putf(b, "%-*s %*s %*s %12s\n", NAME_WIDTH + 4, name, COLUMN, shown(first, x, digits), COLUMN,
           shown(second, y, digits), difference);
}

/* The end of a name says more than its beginning when there is no room for both. */
static const char *tail_of(const char *name, size_t room) {
  size_t len = strlen(name);
  return len > room ? name + (len - room) : name;
}

static void put_comparison(struct buf *b, const struct simulate_result *x, const struct simulate_result *y) {
  bool is_priced = !isnan(x->cost) || !isnan(y->cost);
  char name[96];
  buf_putf(b, "%-*s %*s %*s %12s\n", NAME_WIDTH + 4, "", COLUMN, tail_of(x->strategy, COLUMN), COLUMN,
           tail_of(y->strategy, COLUMN), "difference");
  for (unsigned i = 0; i < x->n_rows; i++) {
    (void)snprintf(name, sizeof name, "share of %s, %%", x->rows[i].id);
    put_pair(b, name, 100 * x->rows[i].share, 100 * y->rows[i].share, 2);
  }
  for (unsigned i = 0; i < x->n_rows; i++) {
    (void)snprintf(name, sizeof name, "p99 ms of %s", x->rows[i].id);
    put_pair(b, name, x->rows[i].answers.p99_ms, y->rows[i].answers.p99_ms, 1);
  }
  for (unsigned i = 0; i < x->n_rows; i++) {
    (void)snprintf(name, sizeof name, "max in flight, %s", x->rows[i].id);
    put_pair(b, name, x->rows[i].max_in_flight, y->rows[i].max_in_flight, 0);
  }
  put_pair(b, "requests", (double)x->requests, (double)y->requests, 0);
  put_pair(b, "failed", (double)x->failed, (double)y->failed, 0);
  put_pair(b, "retries", (double)x->retries, (double)y->retries, 0);
  put_pair(b, "mean ms", x->answers.mean_ms, y->answers.mean_ms, 1);
  put_pair(b, "p50 ms", x->answers.p50_ms, y->answers.p50_ms, 1);
  put_pair(b, "p90 ms", x->answers.p90_ms, y->answers.p90_ms, 1);
  put_pair(b, "p99 ms", x->answers.p99_ms, y->answers.p99_ms, 1);
  put_pair(b, "fairness", x->fairness, y->fairness, 4);
  if (is_priced) put_pair(b, "cost", x->cost, y->cost, 2);
  put_pair(b, "script errors", (double)x->script_errors, (double)y->script_errors, 0);
}

/* ---- JSON ---- */

static void put_number(struct json_writer *w, const char *name, double x) {
  json_key(w, name);
  json_double(w, rounded(x));
}

static void put_count(struct json_writer *w, const char *name, uint64_t n) {
  json_key(w, name);
  json_int(w, (int64_t)n);
}

static void put_times(struct json_writer *w, const struct times *t) {
  put_number(w, "meanMs", t->mean_ms);
  put_number(w, "p50Ms", t->p50_ms);
  put_number(w, "p90Ms", t->p90_ms);
  put_number(w, "p99Ms", t->p99_ms);
}

static void put_json_row(struct json_writer *w, const struct simulate_row *row) {
  json_open(w, '{');
  json_key(w, "id");
  json_cstring(w, row->id);
  put_number(w, "weight", row->weight);
  json_key(w, "share");
  json_double(w, round(row->share * 1e6) / 1e6);
  put_count(w, "requests", row->requests);
  put_count(w, "failures", row->failures);
  put_times(w, &row->answers);
  put_count(w, "maxInFlight", row->max_in_flight);
  put_count(w, "ejections", row->ejections);
  json_close(w, '}');
}

static void put_json_run(struct json_writer *w, const struct simulate_result *r) {
  json_open(w, '{');
  json_key(w, "strategy");
  json_cstring(w, r->strategy);
  put_number(w, "seconds", r->seconds);
  json_key(w, "providers");
  json_open(w, '[');
  for (unsigned i = 0; i < r->n_rows; i++)
    put_json_row(w, &r->rows[i]);
  json_close(w, ']');
  json_key(w, "totals");
  json_open(w, '{');
  put_count(w, "requests", r->requests);
  put_count(w, "answered", r->answered);
  put_count(w, "failed", r->failed);
  json_key(w, "failedBy");
  json_open(w, '{');
  for (unsigned i = 0; i < SIMULATE_CAUSES; i++)
    if (r->failed_by[i]) put_count(w, cause_name(i), r->failed_by[i]);
  json_close(w, '}');
  json_key(w, "reason");
  json_cstring(w, r->reason[0] ? r->reason : NULL);
  put_count(w, "attempts", r->attempts);
  put_count(w, "retries", r->retries);
  put_times(w, &r->answers);
  json_key(w, "fairness");
  json_double(w, round(r->fairness * 1e6) / 1e6);
  put_number(w, "cost", r->cost);
  put_count(w, "scriptErrors", r->script_errors);
  put_count(w, "benchedWorkers", r->benched);
  json_key(w, "lastScriptError");
  json_cstring(w, r->last_error[0] ? r->last_error : NULL);
  json_close(w, '}');
  json_close(w, '}');
}

static void put_json_difference(struct json_writer *w, const struct simulate_result *x,
                                const struct simulate_result *y) {
  json_open(w, '{');
  json_key(w, "share");
  json_open(w, '{');
  for (unsigned i = 0; i < x->n_rows; i++) {
    json_key(w, x->rows[i].id);
    json_double(w, round((y->rows[i].share - x->rows[i].share) * 1e6) / 1e6);
  }
  json_close(w, '}');
  put_number(w, "failed", (double)y->failed - (double)x->failed);
  put_number(w, "retries", (double)y->retries - (double)x->retries);
  struct times t = {y->answers.mean_ms - x->answers.mean_ms, y->answers.p50_ms - x->answers.p50_ms,
                    y->answers.p90_ms - x->answers.p90_ms, y->answers.p99_ms - x->answers.p99_ms};
  put_times(w, &t);
  json_key(w, "fairness");
  json_double(w, round((y->fairness - x->fairness) * 1e6) / 1e6);
  put_number(w, "cost", y->cost - x->cost);
  put_number(w, "scriptErrors", (double)y->script_errors - (double)x->script_errors);
  json_close(w, '}');
}

static void put_json(struct buf *b, const struct scenario *s, const struct simulate_result *runs, unsigned n,
                     uint64_t seed) {
  struct json_writer w;
  json_begin(&w, b);
  json_open(&w, '{');
  put_count(&w, "seed", seed);
  put_count(&w, "workers", s->workers);
  put_number(&w, "rate", s->clients ? NAN : s->rate);
  json_key(&w, "clients");
  if (s->clients)
    json_int(&w, s->clients);
  else
    json_null(&w);
  json_key(&w, "runs");
  json_open(&w, '[');
  for (unsigned i = 0; i < n; i++)
    put_json_run(&w, &runs[i]);
  json_close(&w, ']');
  if (n == 2) {
    json_key(&w, "difference");
    put_json_difference(&w, &runs[0], &runs[1]);
  }
  json_close(&w, '}');
  buf_putf(b, "\n");
}

/* ---- the command ---- */

static void apply_flags(struct scenario *s, const struct simulate_options *o) {
  if (o->rate > 0) {
    s->rate = o->rate;
    s->clients = 0;
  }
  if (o->clients) {
    s->clients = o->clients;
    s->rate = 0;
  }
  if (o->requests) s->requests = o->requests;
  if (o->duration_s > 0) {
    s->duration_s = o->duration_s;
    /* A flag is not to be stopped by what the file says. */
    if (!o->requests) s->requests = 0;
  } else if (o->requests) {
    s->duration_s = 0;
  }
  if (o->workers) s->workers = o->workers;
  scenario_seal(s);
}

static struct scenario *get_scenario(const struct simulate_options *o) {
  if (!o->scenario) return scenario_new(o->providers ? o->providers : 5);
  struct buf problems;
  buf_init(&problems, SCENARIO_REPORT_MAX);
  struct scenario *s = scenario_load(o->scenario, &problems);
  (void)fputs(buf_cstr(&problems), stderr);
  buf_release(&problems);
  return s;
}

static void print(const struct scenario *s, const struct simulate_result *runs, unsigned n,
                  const struct simulate_options *o) {
  struct buf b;
  buf_init(&b, TEXT_MAX);
  if (o->is_json) {
    put_json(&b, s, runs, n, o->seed);
  } else {
    buf_putf(&b, "%s%s%s: ", runs[0].strategy, n == 2 ? " and " : "", n == 2 ? runs[1].strategy : "");
    put_heading(&b, s, &runs[0], o->seed);
    if (n == 2)
      put_comparison(&b, &runs[0], &runs[1]);
    else
      put_run(&b, &runs[0]);
  }
  (void)fputs(buf_cstr(&b), stdout);
  buf_release(&b);
}

int simulate_main(const struct simulate_options *o) {
  const char *strategies[2] = {o->strategy, o->other};
  unsigned n = o->other ? 2 : 1;
  struct scenario *s = get_scenario(o);
  if (!s) return 1;
  apply_flags(s, o);
  struct simulate_result runs[2] = {{0}};
  char err[SCRIPT_ERROR_MAX];
  int code = 0;
  log_setup(LOG_WARN, LOG_TEXT);
  for (unsigned i = 0; i < n && code == 0; i++) {
    if (simulate_run(&runs[i], s, strategies[i], o->seed, err)) continue;
    (void)fprintf(stderr, "%s\n", err);
    code = 1;
  }
  if (code == 0) print(s, runs, n, o);
  for (unsigned i = 0; i < n; i++)
    simulate_release(&runs[i]);
  scenario_free(s);
  guard_stop();
  return code;
}
