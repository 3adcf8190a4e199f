/*
 * The file runs in a reader's state, with scripts/runtime/config.lua as its checker. Here: what a load is given, and
 * what it reports.
 *
 * Owns: everything in struct load.
 */
#include "script/settings_private.h"

#include "base/redact.h"

#include <stdlib.h>

#define REPORT_MAX_BYTES ((size_t)1 << 20)

/* ---- report ---- */

void settings_report_init(struct settings_report *r) {
  memset(r, 0, sizeof *r);
  buf_init(&r->problems, REPORT_MAX_BYTES);
  buf_init(&r->warnings, REPORT_MAX_BYTES);
}

void settings_report_release(struct settings_report *r) {
  buf_release(&r->problems);
  buf_release(&r->warnings);
  key_free(r->key);
  r->key = NULL;
  plan_unref(&r->trial);
}

static void add_problem(struct settings_report *r, const char *path, const char *text) {
  r->n_problems++;
  if (buf_appendf(&r->problems, "%s%s%s\n", path ? path : "", path ? ": " : "", text)) return;
}

/* ---- the load ---- */

static void set_text(lua_State *L, const char *name, const char *value) {
  if (!value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, long value) {
  if (value < 0) return;
  lua_pushnumber(L, (lua_Number)value);
  lua_setfield(L, -2, name);
}

static int push_overrides(lua_State *L) {
  struct load *load = reader_owner(L);
  const struct settings_overrides *o = load->overrides;
  lua_newtable(L);
  if (!o) return 1;
  set_text(L, "host", o->host);
  set_number(L, "port", o->port);
  set_text(L, "strategy", o->strategy);
  set_text(L, "strategyFrom", o->strategy_from);
  set_number(L, "maxRetries", o->max_retries);
  set_number(L, "healthCheckInterval", o->health_interval_ms);
  set_number(L, "sessionTimeout", o->session_timeout_ms);
  set_number(L, "workers", o->workers);
  set_text(L, "rpc", o->rpc);
  set_text(L, "logLevel", o->log_level);
  set_text(L, "logFormat", o->log_format);
  if (o->n_providers == 0) return 1;
  lua_newtable(L);
  for (unsigned i = 0; i < o->n_providers; i++) {
    lua_pushstring(L, o->providers[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "providers");
  return 1;
}

static void take_report(lua_State *L, int config) {
  struct load *load = reader_owner(L);
  struct settings_report *r = load->report;
  reader_put_lines(L, config, "problems", &r->problems);
  reader_put_lines(L, config, "warnings", &r->warnings);
  lua_getfield(L, config, "count");
  lua_call(L, 0, 2);
  r->n_problems += (unsigned)lua_tointeger(L, -2);
  r->n_warnings += (unsigned)lua_tointeger(L, -1);
  lua_pop(L, 2);
}

static const struct reader_kind CONFIG = {
    .checker = "config",
    .functions = SETTINGS_HOST,
    .host = settings_push_limits,
    .arguments = push_overrides,
    .report = take_report,
    .result = settings_build_plan,
};

static void load_text(struct load *load, struct span text) {
  char *wrong = reader_load(&CONFIG, load, load->path, text);
  if (wrong) {
    add_problem(load->report, load->path, wrong);
    plan_unref(&load->plan);
    plan_unref(&load->report->trial);
  }
  free(wrong);
  settings_drop_scratch(load);
}

struct plan *settings_load(struct settings_report *report, const char *path, struct span text,
                           const struct settings_overrides *overrides, struct registry *registry) {
  struct load load = {.report = report, .path = path, .overrides = overrides, .registry = registry};
  char *from_disk = NULL;
  if (path && !text.ptr) {
    const char *why = NULL;
    from_disk = reader_file(path, READER_FILE_MAX, &text.len, &why);
    if (!from_disk) {
      add_problem(report, path, why);
      (void)redact_digits(&report->problems);
      return NULL;
    }
    text.ptr = from_disk;
    load.is_from_disk = true;
  } else if (text.ptr && !path) {
    load.path = "config";
  }
  load_text(&load, text);
  if (from_disk) wipe(from_disk, text.len);
  free(from_disk);
  (void)redact_apply(&report->problems);
  (void)redact_apply(&report->warnings);
  (void)redact_digits(&report->problems);
  (void)redact_digits(&report->warnings);
  return load.plan;
}
