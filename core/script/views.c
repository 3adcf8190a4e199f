/*
 * views: what interpreted scripts see of providers. A provider is a plain table, and reading a field of a plain table is
 * the cheapest thing that an interpreter does; so C writes the fields, and only those that have changed. Fields that no
 * script has asked for yet are missing in the tables: the first question is answered by a function, from then on the
 * field is kept written.
 *
 * What is there can be overwritten, which no metatable notices. So C looks for it: after each call for fields that the
 * script's text assigns to by name, else now and then for one provider after the other; what is found is put right, and
 * is an error of the script.
 *
 * Thread: the generation's.
 * Invariant: what a table holds is what told_of() would push, unless the script wrote to it.
 */
#include "script/generation_private.h"

#include <lauxlib.h>

#include <math.h>
#include <string.h>

/* Calls between two looks at a provider; odd, so that what a script does in each second call is met, too. */
#define CHECK_EACH 61
#define EVERYTHING UINT64_MAX

/* ---- fields ---- */

enum kind {
  KIND_U32,
  KIND_U64,
  KIND_NUMBER,
  KIND_STATE,
  KIND_CLASS,
  /* What the configuration or the chain's record says: the same as long as the plan is. */
  KIND_FIXED,
  KIND_FIXED_BOOL,
  /* These move with the clock: never in a table, answered each time. */
  KIND_CLOCK,
  KIND_SINCE,
  KIND_UNTIL
};

static const struct stat_field {
  const char *name;
  enum kind kind;
  uint16_t from; /* in struct provider, where the kind says that it is kept up to date */
  uint16_t at;   /* in struct lb_stats */
} STATS[STAT_N] = {
#define STAT_FIELD_(name, member, kind, source)                                                              \
  {#name, KIND_##kind, offsetof(struct provider, source), offsetof(struct lb_stats, member)},
    STAT_MAP(STAT_FIELD_)
#undef STAT_FIELD_
};

static bool is_kept(enum kind k) {
  return k < KIND_FIXED;
}

/* As bits, so that numbers that are none have a value, too. */
static uint64_t load(const struct provider *p, const struct stat_field *f) {
  const char *at = (const char *)p + f->from;
  if (f->kind == KIND_U64 || f->kind == KIND_NUMBER)
    return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
  return __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_RELAXED);
}

static void push_kept(lua_State *L, enum kind kind, uint64_t bits, const struct view_names *names) {
  double x;
  switch (kind) {
  case KIND_NUMBER:
    memcpy(&x, &bits, sizeof x);
    lua_pushnumber(L, x);
    break;
  case KIND_STATE: lua_rawgeti(L, names->states, (int)abi_state((uint32_t)bits)); break;
  case KIND_CLASS: lua_rawgeti(L, names->classes, (int)bits); break;
  default: lua_pushnumber(L, (lua_Number)bits);
  }
}

static double clamp(double x) {
  return x > 0 ? x : 0;
}

static void push_other(lua_State *L, const struct lb_stats *s, const struct stat_field *f) {
  const char *at = (const char *)s + f->at;
  double x = 0;
  if (f->kind != KIND_FIXED_BOOL) memcpy(&x, at, sizeof x);
  switch (f->kind) {
  case KIND_FIXED_BOOL: lua_pushboolean(L, *at != 0); break;
  case KIND_SINCE: lua_pushnumber(L, lb_abi_now_ms() - x); break;
  case KIND_UNTIL: lua_pushnumber(L, clamp(x - lb_abi_now_ms())); break;
  default: lua_pushnumber(L, x);
  }
}

/* ---- writing ---- */

static const struct view_names ON_STACK = {STACK_STATES, STACK_CLASSES};

/* Pushes what the provider's table holds. */
static void told_of(struct generation *g, unsigned slot, enum view_field field) {
  lua_State *L = g->L;
  const struct lb_provider *p = &g->call.providers[slot];
  switch (field) {
  case VIEW_index: lua_pushnumber(L, p->index); return;
  case VIEW_slot: lua_pushnumber(L, p->slot); return;
  case VIEW_in_flight: lua_pushnumber(L, p->in_flight); return;
  case VIEW_weight: lua_pushnumber(L, p->weight); return;
  case VIEW_priority: lua_pushnumber(L, p->priority); return;
  case VIEW_id:
  case VIEW_address:
  case VIEW_kind:
  case VIEW_model:
  case VIEW_tags: lua_rawgeti(L, STACK_TEXTS + (int)field - VIEW_id, (int)slot + 1); return;
  default: break;
  }
  unsigned which = (unsigned)field - VIEW_STATS;
  const struct stat_field *f = &STATS[which];
  if (is_kept(f->kind))
    push_kept(L, f->kind, g->told[slot * STAT_N + which], &ON_STACK);
  else
    push_other(L, &g->call.stats[slot], f);
}

static void write_field(struct generation *g, unsigned slot, enum view_field field) {
  lua_pushvalue(g->L, STACK_FIELDS + (int)field);
  told_of(g, slot, field);
  lua_rawset(g->L, STACK_PROVIDERS + (int)slot);
}

static void write_number(struct generation *g, unsigned slot, enum view_field field, double x) {
  lua_pushvalue(g->L, STACK_FIELDS + (int)field);
  lua_pushnumber(g->L, x);
  lua_rawset(g->L, STACK_PROVIDERS + (int)slot);
}

static void write_wanted(struct generation *g, unsigned slot) {
  const struct provider *p = g->plan->entries[slot].provider;
  for (uint32_t left = g->kept; left; left &= left - 1) {
    unsigned which = (unsigned)__builtin_ctz(left);
    uint64_t now = load(p, &STATS[which]), *told = &g->told[slot * STAT_N + which];
    if (LIKELY(now == *told)) continue;
    *told = now;
    write_field(g, slot, VIEW_STATS + which);
  }
}

static void write_load(struct generation *g, unsigned slot, uint32_t in_flight) {
  write_number(g, slot, VIEW_in_flight, g->call.providers[slot].in_flight = in_flight);
}

/* Which have changed is found without a guess, then only those are visited: guessing wrong costs more than looking. */
static void write_loads(struct generation *g, unsigned n) {
  for (unsigned from = 0; from < n; from += 64) {
    const struct shown_load *loads = &g->shown_loads[from];
    unsigned some = n - from < 64 ? n - from : 64;
    uint64_t changed = 0;
    for (unsigned i = some; i-- > 0;)
      changed = changed * 2 + (__atomic_load_n(loads[i].now, __ATOMIC_RELAXED) != *loads[i].told);
    for (; changed; changed &= changed - 1) {
      unsigned i = (unsigned)__builtin_ctzll(changed);
      write_load(g, g->shown[from + i], __atomic_load_n(loads[i].now, __ATOMIC_RELAXED));
    }
  }
}

static void write_place(struct generation *g, unsigned place) {
  if (place < g->n_shown)
    lua_pushvalue(g->L, STACK_PROVIDERS + g->shown[place]);
  else
    lua_pushnil(g->L);
  lua_rawseti(g->L, STACK_POOL, (int)place + 1);
}

SELDOM static void write_order(struct generation *g, const uint16_t *candidates, unsigned n) {
  unsigned before = g->n_shown;
  uint32_t key = n;
  g->n_shown = n;
  for (unsigned i = 0; i < n; i++) {
    unsigned slot = candidates[i];
    key = (key ^ (slot + 1u)) * 0x9e3779b1u;
    if (g->call.providers[slot].index != i + 1)
      write_number(g, slot, VIEW_index, g->call.providers[slot].index = i + 1);
    if (i < before && g->shown[i] == slot) continue;
    generation_note_place(g, i, slot);
    write_place(g, i);
  }
  for (unsigned i = n; i < before; i++)
    write_place(g, i);
  g->facts.is_known = false;
  g->call.pool.key = key;
  lua_pushvalue(g->L, STACK_POOL_KEY);
  lua_pushnumber(g->L, key);
  lua_rawset(g->L, STACK_POOL);
}

void views_show_pool(struct generation *g, const uint16_t *candidates, unsigned n) {
  if (UNLIKELY(!generation_shows(g, candidates, n))) write_order(g, candidates, n);
  g->subject = PLAN_PROVIDERS_MAX;
  write_loads(g, n);
  if (g->kept)
    for (unsigned i = 0; i < n; i++)
      write_wanted(g, candidates[i]);
}

void views_show_provider(struct generation *g, unsigned slot) {
  uint32_t now = __atomic_load_n(g->loads[slot], __ATOMIC_RELAXED);
  g->subject = (uint16_t)slot;
  if (now != g->call.providers[slot].in_flight) write_load(g, slot, now);
  write_wanted(g, slot);
}

void views_write_all(struct generation *g) {
  for (unsigned slot = 0; slot < g->plan->n_entries; slot++)
    for (unsigned i = 0; i < VIEW_N; i++)
      if (g->present >> i & 1) write_field(g, slot, i);
}

/* ---- asking ---- */

/* Gives the field a place in all providers' tables, here where running out of memory is an error like others. */
static void want(lua_State *L, struct generation *g, enum stat which, const struct view_names *names,
                 int providers) {
  const struct stat_field *f = &STATS[which];
  for (unsigned i = 0; i < g->plan->n_entries; i++) {
    uint64_t *told = &g->told[i * STAT_N + which];
    lua_rawgeti(L, providers, (int)i + 1);
    lua_pushstring(L, f->name);
    if (is_kept(f->kind))
      push_kept(L, f->kind, *told = load(g->plan->entries[i].provider, f), names);
    else
      push_other(L, &g->call.stats[i], f);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  if (is_kept(f->kind)) g->kept |= 1u << which;
  g->present |= VIEW_BIT(VIEW_STATS + which);
}

void views_answer(lua_State *L, struct generation *g, unsigned slot, enum stat which,
                  const struct view_names *names, int providers) {
  const struct stat_field *f = &STATS[which];
  if (f->kind < KIND_CLOCK) want(L, g, which, names, providers);
  if (is_kept(f->kind)) {
    push_kept(L, f->kind, g->told[slot * STAT_N + which], names);
    return;
  }
  if (f->kind >= KIND_CLOCK) lb_abi_stats_fill(&g->call, slot + 1);
  push_other(L, &g->call.stats[slot], f);
}

/* ---- looking after them ---- */

static bool is_same(lua_State *L) {
  if (lua_rawequal(L, -1, -2)) return true;
  bool both_numbers = lua_type(L, -1) == LUA_TNUMBER && lua_type(L, -2) == LUA_TNUMBER;
  return both_numbers && isnan(lua_tonumber(L, -1)) && isnan(lua_tonumber(L, -2));
}

/* What was overwritten first, VIEW_N when it is the pool; -1: nothing was. */
static int check_fields(struct generation *g, unsigned slot, uint64_t fields) {
  lua_State *L = g->L;
  int found = -1;
  for (; fields; fields &= fields - 1) {
    int field = __builtin_ctzll(fields);
    lua_pushvalue(L, STACK_FIELDS + field);
    lua_rawget(L, STACK_PROVIDERS + (int)slot);
    told_of(g, slot, (enum view_field)field);
    bool is_intact = is_same(L);
    lua_pop(L, 2);
    if (LIKELY(is_intact)) continue;
    write_field(g, slot, (enum view_field)field);
    if (found < 0) found = field;
  }
  return found;
}

static int check_place(struct generation *g, unsigned place) {
  lua_State *L = g->L;
  lua_rawgeti(L, STACK_POOL, (int)place + 1);
  bool is_intact = lua_rawequal(L, -1, STACK_PROVIDERS + g->shown[place]);
  lua_pop(L, 1);
  if (LIKELY(is_intact)) return -1;
  write_place(g, place);
  return VIEW_N;
}

/* Those of the last call. */
static int check_shown(struct generation *g, uint64_t fields, bool with_places) {
  int found = g->subject < PLAN_PROVIDERS_MAX ? check_fields(g, g->subject, fields) : -1;
  for (unsigned i = 0; i < g->n_shown; i++) {
    int here = check_fields(g, g->shown[i], fields);
    if (found < 0) found = here;
    if (with_places && (here = check_place(g, i)) >= 0 && found < 0) found = here;
  }
  return found;
}

/* One provider and one place of the pool, all of them in turn. */
static int check_next(struct generation *g) {
  unsigned turn = g->n_checks++;
  if (g->plan->n_entries == 0) return -1;
  int found = check_fields(g, turn % g->plan->n_entries, g->present);
  int place = g->n_shown ? check_place(g, turn % g->n_shown) : -1;
  return found < 0 ? place : found;
}

/* In the words that references refuse a write with, where the line tells the rest. */
static void say(const struct generation *g, int found, char out[VIEW_TEXT_MAX]) {
  static const char rule[] = "views are read-only, what is yours belongs into the state";
  if (found == VIEW_N)
    (void)snprintf(out, VIEW_TEXT_MAX, "a place of the pool was assigned to: %s", rule);
  else if (g->lines[found])
    (void)snprintf(out, VIEW_TEXT_MAX, "%s:%d: %s", g->file, g->lines[found], rule);
  else
    (void)snprintf(out, VIEW_TEXT_MAX, "%s of a provider was assigned to: %s",
                   views_field_name((enum view_field)found), rule);
}

bool views_are_intact(struct generation *g, char out[VIEW_TEXT_MAX]) {
  int found = -1;
  bool is_turn = g->check_in == 0;
  if (is_turn) g->check_in = CHECK_EACH;
  if (g->watched) found = check_shown(g, g->watched & g->present, g->watched == EVERYTHING);
  if (is_turn && found < 0) found = check_next(g);
  if (LIKELY(found < 0)) return true;
  g->watched = EVERYTHING;
  (void)check_shown(g, g->present, true);
  say(g, found, out);
  return false;
}

bool views_are_intact_after_load(struct generation *g, char out[VIEW_TEXT_MAX]) {
  g->check_in = CHECK_EACH;
  int found = check_shown(g, g->present, true);
  if (found >= 0) say(g, found, out);
  return found < 0;
}

/* ---- names ---- */

static const char *const FIXED[] = {
#define VIEW_NAME_(name) #name,
    VIEW_FIXED_MAP(VIEW_NAME_)
#undef VIEW_NAME_
};

const char *views_field_name(enum view_field field) {
  return field < VIEW_STATS ? FIXED[field] : STATS[field - VIEW_STATS].name;
}

void views_push_names(lua_State *L) {
  for (int i = 0; i < VIEW_N; i++)
    lua_pushstring(L, views_field_name((enum view_field)i));
}

void views_take_lines(lua_State *L, struct generation *g) {
  for (int i = 0; i < VIEW_N; i++) {
    lua_getfield(L, -1, views_field_name((enum view_field)i));
    g->lines[i] = (int)lua_tointeger(L, -1);
    if (g->lines[i]) g->watched |= VIEW_BIT(i);
    lua_pop(L, 1);
  }
}
