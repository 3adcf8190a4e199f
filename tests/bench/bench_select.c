/*
 * bench_select: what one decision costs, in ns: filling the views, entering Lua, choosing, checking.
 * usage: bench_select [STRATEGY | FILE.lua | fast:FILE.lua]...
 * Without arguments: every preset; a script of the operator's as he has it (strict) and compiled (fast); and, below a
 * line, the same choice made in ways that were not taken: one C function per field, and tables filled anew each time; and
 * the least that any way can cost an interpreted script: nothing but the call, over tables of which C writes what changed.
 * One line per strategy; columns are 3, 8, 64 and 128 candidates. Prints, never judges.
 */
#include "base/base.h"
#include "base/embedded.h"
#include "base/rand.h"
#include "script/decide.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 7

static const unsigned SIZES[] = {3, 8, 64, 128};

static char *read_file(const char *path, size_t *len) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = x_malloc(1 << 16);
  *len = fread(text, 1, 1 << 16, f);
  (void)fclose(f);
  return text;
}

#define FAST SPAN("fast:")

/* Processor time of this thread, so that other programs do not count. */
static uint64_t cpu_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double median(double rounds[ROUNDS]) {
  for (unsigned i = 1; i < ROUNDS; i++)
    for (unsigned j = i; j > 0 && rounds[j] < rounds[j - 1]; j--) {
      double x = rounds[j];
      rounds[j] = rounds[j - 1];
      rounds[j - 1] = x;
    }
  return rounds[ROUNDS / 2];
}

/* The fewest in flight for the weight, as one writes it who knows that names of the file are found soonest. */
static const char SAMPLE[] = "local huge = math.huge\n"
                             "return { abi = 1, name = 'sample', select = function(_, _, pool)\n"
                             "  local best, lowest = 1, huge\n"
                             "  for i = 1, #pool do\n"
                             "    local p = pool[i]\n"
                             "    local load = p.in_flight / p.weight\n"
                             "    if load < lowest then best, lowest = i, load end\n"
                             "  end\n"
                             "  return best\n"
                             "end }\n";
#define SAMPLE_STRICT "user script, strict"
#define SAMPLE_FAST   "user script, fast"

static struct plan *make_plan(const char *strategy, unsigned n) {
  struct plan *plan = plan_new();
  if (span_starts(span_str(strategy), FAST)) {
    plan->settings.guard_is_fast = true;
    strategy += FAST.len;
  }
  plan->n_entries = n;
  plan->entries = x_calloc(n, sizeof *plan->entries);
  for (unsigned i = 0; i < n; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "p%u", i + 1);
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1 + i % 4;
    plan->entries[i].priority = 1 + i % 2;
    plan->entries[i].has_price = true;
    plan->entries[i].price_in = 1 + i % 3;
    plan->entries[i].price_out = 4;
  }
  plan->strategy_name = x_strdup(strategy);
  if (strcmp(strategy, SAMPLE_STRICT) == 0 || strcmp(strategy, SAMPLE_FAST) == 0) {
    plan->settings.guard_is_fast = strcmp(strategy, SAMPLE_FAST) == 0;
    plan->strategy_path = x_strdup("sample.lua");
    plan->strategy_source = span_str(x_strdup(SAMPLE));
  } else if (strchr(strategy, '.')) {
    size_t len;
    char *text = read_file(strategy, &len);
    if (!text) {
      (void)fprintf(stderr, "%s cannot be read\n", strategy);
      exit(1);
    }
    plan->strategy_path = x_strdup(strategy);
    plan->strategy_source = span_make(text, len);
  }
  plan_seal(plan);
  return plan;
}

/* The median of some rounds. As in service, each body is another, what is chosen is begun, and requests end in the order
   they came. */
static double measure(const char *strategy, unsigned n) {
  struct plan *plan = make_plan(strategy, n);
  char err[SCRIPT_ERROR_MAX];
  struct generation *g = generation_new(plan, 0, NULL, err);
  if (!g) {
    (void)fprintf(stderr, "%s\n", err);
    exit(1);
  }
  struct lb_request req = {.id = {"r", 1, 0},
                           .kind = {"chat", 4, 0},
                           .client = {"127.0.0.1", 9, 0},
                           .attempt = 1,
                           .max_tokens = NAN};
  uint16_t candidates[PLAN_PROVIDERS_MAX];
  for (unsigned i = 0; i < n; i++)
    candidates[i] = (uint16_t)i;
  struct rng rng;
  rng_seed(&rng, 1);
  enum { RUNNING = 16, BODIES = 1024 };
  struct provider *running[RUNNING] = {NULL};
  static double bodies[BODIES];
  for (unsigned i = 0; i < BODIES; i++)
    bodies[i] = (double)(rng_u64(&rng) >> 11);
  struct decision d;
  unsigned calls = n > 8 ? 200000 : 1000000;
  double rounds[ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t start = cpu_ns();
    for (unsigned i = 0; i < calls; i++) {
      req.prefix_hash = bodies[i % BODIES];
      decide_select(g, &d, &req, candidates, n, &rng);
      struct provider *old = running[i % RUNNING], *p = plan->entries[d.slots[0]].provider;
      if (old) old->in_flight--;
      p->in_flight++;
      running[i % RUNNING] = p;
    }
    rounds[round] = (double)(cpu_ns() - start) / calls;
  }
  if (generation_errors(g))
    (void)fprintf(stderr, "%s: %llu errors\n", strategy, (unsigned long long)generation_errors(g));
  generation_free(g);
  plan_unref(&plan);
  return median(rounds);
}

/* ---- ways that were not taken, and the call alone ---- */

enum way { BY_ACCESSORS, BY_FILLED_TABLES, BY_KEPT_TABLES };

struct peer {
  uint32_t in_flight;
  double weight;
};
static struct peer peers[PLAN_PROVIDERS_MAX];

static int peer_in_flight(lua_State *L) {
  lua_pushnumber(L, peers[(unsigned)lua_tonumber(L, 1) - 1].in_flight);
  return 1;
}

static int peer_weight(lua_State *L) {
  lua_pushnumber(L, peers[(unsigned)lua_tonumber(L, 1) - 1].weight);
  return 1;
}

static void write_load(lua_State *L, unsigned chosen, int change) {
  struct peer *peer = &peers[chosen - 1];
  peer->in_flight += (uint32_t)change;
  lua_rawgeti(L, 2, (int)chosen);
  lua_pushnumber(L, peer->in_flight);
  lua_setfield(L, -2, "in_flight");
  lua_pop(L, 1);
}

static void fill_tables(lua_State *L, int pool, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, pool, (int)i + 1);
    lua_pushnumber(L, peers[i].in_flight);
    lua_setfield(L, -2, "in_flight");
    lua_pushnumber(L, peers[i].weight);
    lua_setfield(L, -2, "weight");
    lua_pushnumber(L, i + 1);
    lua_setfield(L, -2, "index");
    lua_pop(L, 1);
  }
}

static double measure_other(enum way way, bool is_compiled, unsigned n) {
  static const char *const CODE[] = {"local in_flight, weight = ...\n"
                                     "return function(n)\n"
                                     "  local best, lowest = 1, math.huge\n"
                                     "  for i = 1, n do\n"
                                     "    local load = in_flight(i) / weight(i)\n"
                                     "    if load < lowest then best, lowest = i, load end\n"
                                     "  end\n"
                                     "  return best\n"
                                     "end",
                                     "return function(pool)\n"
                                     "  local best, lowest = 1, math.huge\n"
                                     "  for i = 1, #pool do\n"
                                     "    local load = pool[i].in_flight / pool[i].weight\n"
                                     "    if load < lowest then best, lowest = i, load end\n"
                                     "  end\n"
                                     "  return best\n"
                                     "end"};
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | (is_compiled ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
  REQUIRE(luaL_loadstring(L, way == BY_KEPT_TABLES ? SAMPLE : CODE[way]) == 0);
  lua_pushcfunction(L, peer_in_flight);
  lua_pushcfunction(L, peer_weight);
  lua_call(L, 2, 1);
  if (way == BY_KEPT_TABLES) {
    lua_getfield(L, 1, "select");
    lua_replace(L, 1);
  }
  lua_createtable(L, (int)n, 0);
  for (unsigned i = 0; i < n; i++) {
    peers[i] = (struct peer){0, 1 + i % 4};
    lua_createtable(L, 0, 4);
    lua_rawseti(L, 2, (int)i + 1);
  }
  if (way == BY_KEPT_TABLES) fill_tables(L, 2, n);
  enum { RUNNING = 16 };
  unsigned running[RUNNING] = {0}, calls = n > 8 ? 50000 : 300000;
  double rounds[ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t start = cpu_ns();
    for (unsigned i = 0; i < calls; i++) {
      if (way == BY_FILLED_TABLES) fill_tables(L, 2, n);
      lua_pushvalue(L, 1);
      if (way == BY_KEPT_TABLES) lua_settop(L, lua_gettop(L) + 2);
      if (way == BY_ACCESSORS)
        lua_pushinteger(L, (lua_Integer)n);
      else
        lua_pushvalue(L, 2);
      REQUIRE(lua_pcall(L, way == BY_KEPT_TABLES ? 3 : 1, 1, 0) == 0);
      unsigned chosen = (unsigned)lua_tonumber(L, -1), *old = &running[i % RUNNING];
      lua_pop(L, 1);
      if (way == BY_KEPT_TABLES) {
        if (*old) write_load(L, *old, -1);
        write_load(L, chosen, 1);
      } else {
        if (*old) peers[*old - 1].in_flight--;
        peers[chosen - 1].in_flight++;
      }
      *old = chosen;
    }
    rounds[round] = (double)(cpu_ns() - start) / calls;
    for (unsigned i = 0; i < RUNNING; i++)
      running[i] = 0;
    for (unsigned i = 0; i < n; i++)
      peers[i].in_flight = 0;
    if (way == BY_KEPT_TABLES) fill_tables(L, 2, n);
  }
  lua_close(L);
  return median(rounds);
}

static void print_other(const char *name, enum way way, bool is_compiled) {
  printf("%-24s", name);
  for (unsigned i = 0; i < ARRAY_LEN(SIZES); i++)
    printf(" %8.1f", measure_other(way, is_compiled, SIZES[i]));
  printf("\n");
  (void)fflush(stdout);
}

static void print_line(const char *strategy) {
  printf("%-24s", strategy);
  for (unsigned i = 0; i < ARRAY_LEN(SIZES); i++)
    printf(" %8.1f", measure(strategy, SIZES[i]));
  printf("\n");
  (void)fflush(stdout);
}

int main(int argc, char **argv) {
  printf("%-24s %8u %8u %8u %8u  ns per select\n", "candidates", SIZES[0], SIZES[1], SIZES[2], SIZES[3]);
  for (int i = 1; i < argc; i++)
    print_line(argv[i]);
  if (argc > 1) return 0;
  size_t n;
  const struct embedded_file *files = embedded_list(&n);
  for (size_t i = 0; i < n; i++) {
    char name[64];
    if (sscanf(files[i].name, "strategies/%63[^.].lua", name) == 1) print_line(name);
  }
  print_line(SAMPLE_STRICT);
  print_line(SAMPLE_FAST);
  printf("--\n");
  print_other("accessors, interpreted", BY_ACCESSORS, false);
  print_other("accessors, compiled", BY_ACCESSORS, true);
  print_other("refilled tables, interp.", BY_FILLED_TABLES, false);
  print_other("refilled tables, compil.", BY_FILLED_TABLES, true);
  print_other("the call alone, interp.", BY_KEPT_TABLES, false);
  return 0;
}
