/*
 * The built-in world, and those from files: a reader's state runs the file, scripts/runtime/scenario.lua checks what it
 * returns, and this file copies the result.
 */
#include "sim/scenario.h"

#include "script/reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the built-in scenario ---- */

static const struct scenario_provider CHARACTERS[] = {
    {.id = "steady", .weight = 2, .priority = 10, .latency_ms = 400, .jitter = 0.3, .parallel = 32},
    {.id = "quick", .weight = 1, .priority = 20, .latency_ms = 150, .jitter = 0.4, .parallel = 4},
    {.id = "roomy", .weight = 3, .priority = 10, .latency_ms = 800, .jitter = 0.3, .parallel = 96},
    {.id = "spiky", .weight = 1, .priority = 30, .latency_ms = 300, .jitter = 1.5, .parallel = 16},
    {.id = "flaky",
     .weight = 1,
     .priority = 30,
     .latency_ms = 350,
     .jitter = 0.5,
     .parallel = 16,
     .error_rate = 0.08},
};

struct scenario *scenario_new(unsigned n) {
  struct scenario *s = x_calloc(1, sizeof *s);
  s->providers = x_calloc(n, sizeof *s->providers);
  s->n_providers = n;
  for (unsigned i = 0; i < n; i++) {
    struct scenario_provider *p = &s->providers[i];
    unsigned round = i / ARRAY_LEN(CHARACTERS);
    *p = CHARACTERS[i % ARRAY_LEN(CHARACTERS)];
    char id[32];
    (void)snprintf(id, sizeof id, round ? "%s-%u" : "%s", p->id, round + 1);
    p->id = x_strdup(id);
    p->tags = x_calloc(1, sizeof *p->tags);
    p->first_byte = 0.3;
    p->error_class = OUTCOME_SERVER;
    p->error_ms = 20;
    p->price_in = p->price_out = NAN;
  }
  s->skew = 1;
  s->max_retries = 3;
  s->health_interval_ms = 30000;
  return s;
}

/* What all of them answer in a second when none is full. */
static double capacity_per_s(const struct scenario *s) {
  double sum = 0;
  for (unsigned i = 0; i < s->n_providers; i++)
    sum += s->providers[i].parallel * 1000 / s->providers[i].latency_ms;
  return sum;
}

void scenario_seal(struct scenario *s) {
  if (s->n_kinds == 0) {
    s->kinds = x_calloc(1, sizeof *s->kinds);
    s->n_kinds = 1;
    s->kinds[0] = (struct scenario_kind){.share = 1,
                                         .head = x_strdup(""),
                                         .stream = 0.5,
                                         .tokens_in = 500,
                                         .tokens_out = 200,
                                         .max_tokens = NAN,
                                         .size = 1};
  }
  if (s->rate == 0 && s->clients == 0) {
    double half = capacity_per_s(s) / 2;
    if (half >= 10) half = floor(half);
    s->rate = half < 0.01 ? 0.01 : half > 1e6 ? 1e6 : half;
  }
  if (s->requests == 0 && s->duration_s == 0) s->requests = SCENARIO_REQUESTS_DEFAULT;
  if (s->workers == 0) s->workers = SCENARIO_WORKERS_DEFAULT;
}

void scenario_free(struct scenario *s) {
  if (!s) return;
  for (unsigned i = 0; i < s->n_providers; i++) {
    struct scenario_provider *p = &s->providers[i];
    for (char **tag = p->tags; tag && *tag; tag++)
      free(*tag);
    free(p->tags);
    free(p->id);
    free(p->model);
    free(p->down);
  }
  for (unsigned i = 0; i < s->n_kinds; i++) {
    free(s->kinds[i].model);
    free(s->kinds[i].head);
  }
  free(s->providers);
  free(s->kinds);
  for (unsigned i = 0; i < s->n_options; i++) {
    free(s->options[i].name);
    free(s->options[i].text);
  }
  free(s->options);
  free(s);
}

/* ---- what the checker asks of C ---- */

/* The owner of a reader's load. */
struct load {
  struct buf *problems;
  struct scenario *scenario;
};

static int host_env(lua_State *L) {
  lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
  return 1;
}

/* Whether a made-up provider can end an attempt like this. */
static bool is_fault(enum outcome_class c) {
  return c != OUTCOME_OK && c != OUTCOME_CLIENT_CLOSED;
}

static void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void fill_host(lua_State *L) {
  lua_newtable(L);
  set_number(L, "providers", PLAN_PROVIDERS_MAX);
  set_number(L, "id", PROVIDER_ID_MAX);
  set_number(L, "model", MODEL_NAME_MAX);
  lua_setfield(L, -2, "limits");
  lua_newtable(L);
  int n = 0;
  for (int c = 0; c < OUTCOME_N; c++) {
    if (!is_fault((enum outcome_class)c)) continue;
    lua_pushstring(L, outcome_name((enum outcome_class)c));
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "classes");
}

/* ---- from the result to the struct; the table in question is on top of the stack ---- */

static enum outcome_class class_of(const char *name) {
  for (int c = 0; c < OUTCOME_N; c++)
    if (strcmp(outcome_name((enum outcome_class)c), name) == 0) return (enum outcome_class)c;
  return OUTCOME_SERVER;
}

static void take_provider(lua_State *L, struct scenario_provider *p) {
  p->id = field_copy(L, "id");
  p->model = field_copy(L, "model");
  p->tags = field_copies(L, "tags");
  p->weight = field_number_or(L, "weight", 1);
  p->priority = field_number_or(L, "priority", 50);
  p->latency_ms = field_number_or(L, "latencyMs", 400);
  p->jitter = field_number_or(L, "jitter", 0);
  p->first_byte = field_number_or(L, "firstByte", 0);
  p->parallel = field_number_or(L, "parallel", 1);
  p->error_rate = field_number_or(L, "errorRate", 0);
  p->error_ms = field_number_or(L, "errorMs", 0);
  p->retry_after_ms = field_number_or(L, "retryAfterMs", 0);
  p->price_in = field_number_or(L, "price_in", NAN);
  p->price_out = field_number_or(L, "price_out", NAN);
  lua_getfield(L, -1, "errorClass");
  p->error_class = class_of(lua_tostring(L, -1));
  lua_pop(L, 1);
  unsigned n = field_open_list(L, "down");
  p->down = x_calloc(n ? n : 1, sizeof *p->down);
  p->n_down = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    p->down[i] = (struct scenario_window){field_number_or(L, "from", 0), field_number_or(L, "to", 0)};
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_kind(lua_State *L, struct scenario_kind *k) {
  k->share = field_number_or(L, "share", 1);
  k->model = field_copy(L, "model");
  k->head = field_copy(L, "headers");
  k->stream = field_number_or(L, "stream", 0);
  k->tokens_in = field_number_or(L, "promptTokens", 0);
  k->tokens_out = field_number_or(L, "answerTokens", 1);
  k->max_tokens = field_number_or(L, "maxTokens", NAN);
  k->size = field_number_or(L, "size", 1);
}

static void take_load(lua_State *L, struct scenario *s) {
  lua_getfield(L, -1, "load");
  s->skew = 1;
  if (lua_istable(L, -1)) {
    s->rate = field_number_or(L, "rate", 0);
    s->clients = (unsigned)field_number_or(L, "clients", 0);
    s->think_ms = field_number_or(L, "thinkMs", 0);
    s->requests = (unsigned)field_number_or(L, "requests", 0);
    s->sessions = (unsigned)field_number_or(L, "sessions", 0);
    s->skew = field_number_or(L, "skew", 1);
    unsigned n = field_open_list(L, "mix");
    s->kinds = n ? x_calloc(n, sizeof *s->kinds) : NULL;
    s->n_kinds = n;
    for (unsigned i = 0; i < n; i++) {
      lua_rawgeti(L, -1, (int)i + 1);
      take_kind(L, &s->kinds[i]);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_scenario(lua_State *L) {
  struct load *load = reader_owner(L);
  struct scenario *s = load->scenario = x_calloc(1, sizeof *s);
  s->duration_s = field_number_or(L, "duration", 0);
  s->workers = (unsigned)field_number_or(L, "workers", 0);
  s->max_retries = (unsigned)field_number_or(L, "maxRetries", 3);
  s->health_interval_ms = (uint32_t)field_number_or(L, "healthCheckInterval", 30000);
  take_load(L, s);
  s->n_options = field_open_list(L, "strategyOptions");
  s->options = x_calloc(s->n_options + 1, sizeof *s->options);
  for (unsigned i = 0; i < s->n_options; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    s->options[i] = (struct scenario_options){field_copy(L, "name"), field_copy(L, "text")};
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  unsigned n = field_open_list(L, "providers");
  s->providers = x_calloc(n, sizeof *s->providers);
  s->n_providers = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    take_provider(L, &s->providers[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- the load ---- */

static void take_problems(lua_State *L, int checker) {
  struct load *load = reader_owner(L);
  reader_put_lines(L, checker, "problems", load->problems);
}

static const struct luaL_Reg HOST[] = {{"env", host_env}, {NULL, NULL}};

static const struct reader_kind SCENARIO = {
    .checker = "scenario",
    .functions = HOST,
    .host = fill_host,
    .report = take_problems,
    .result = take_scenario,
};

struct scenario *scenario_load(const char *path, struct buf *problems) {
  struct load load = {.problems = problems};
  struct span text = SPAN_NONE;
  const char *why = NULL;
  char *data = reader_file(path, READER_FILE_MAX, &text.len, &why);
  if (!data) {
    buf_putf(problems, "%s: %s\n", path, why);
    return NULL;
  }
  text.ptr = data;
  char *wrong = reader_load(&SCENARIO, &load, path, text);
  if (wrong) {
    buf_putf(problems, "%s: %s\n", path, wrong);
    scenario_free(load.scenario);
    load.scenario = NULL;
  }
  free(wrong);
  free(data);
  return load.scenario;
}
