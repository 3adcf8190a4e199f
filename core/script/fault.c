/*
 * fault: what goes wrong in a script: where it was, what it is called, counted, told, and when it is too much.
 *
 * Thread: the generation's.
 * Invariant: a text names a line of the script's own file, whatever was thrown, and is printable.
 */
#include "script/generation_private.h"

#include <lauxlib.h>

#include <stdio.h>

static const char *after_digits(const char *at) {
  while (*at >= '0' && *at <= '9')
    at++;
  return at;
}

/* Lua writes the end of a long name, behind three dots. */
static const char *after_file(const struct generation *g, const char *text) {
  size_t len = strlen(g->file);
  if (strncmp(text, g->file, len) == 0) return text + len;
  if (strncmp(text, "...", 3) != 0) return NULL;
  const char *end = strchr(text, ':');
  size_t shown = end ? (size_t)(end - text) - 3 : 0;
  return shown > 0 && shown <= len && strncmp(text + 3, g->file + len - shown, shown) == 0 ? end : NULL;
}

static const char *after_place(const struct generation *g, const char *text) {
  const char *colon = after_file(g, text);
  if (!colon || *colon != ':') return NULL;
  const char *end = after_digits(colon + 1);
  if (end == colon + 1 || *end != ':') return NULL;
  return end[1] == ' ' ? end + 2 : end + 1;
}

/* Without the place in the engine's own Lua, which is seldom where the mistake is. */
static const char *without_engine(const char *text) {
  static const char *const modules[] = {"lb:", "runtime:", "sandbox:", "handover:", "strategy_checks:"};
  for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
    size_t len = strlen(modules[i]);
    if (strncmp(text, modules[i], len) != 0) continue;
    const char *end = after_digits(text + len);
    if (end > text + len && *end == ':') return end[1] == ' ' ? end + 2 : end + 1;
  }
  return text;
}

/* Where the stack is full, Lua may not know the line. */
static bool is_line_0(const char *text, const char *what) {
  return what - text >= 4 && strncmp(what - 4, ":0: ", 4) == 0;
}

static struct generation *generation_of(lua_State *L) {
  void *heap;
  (void)lua_getallocf(L, &heap);
  return container_of((struct heap *)heap, struct generation, heap);
}

/* Message handler: whatever was thrown becomes a text that names a line of the script. */
int fault_on_error(lua_State *L) {
  const char *text =
      lua_type(L, 1) == LUA_TSTRING || lua_type(L, 1) == LUA_TNUMBER ? lua_tostring(L, 1) : NULL;
  const char *what = text ? after_place(generation_of(L), text) : NULL;
  if (what && !is_line_0(text, what)) return 1;
  if (what) text = what;
  text = text ? without_engine(text) : lua_pushfstring(L, "the script threw a %s value", luaL_typename(L, 1));
  lua_Debug ar;
  for (int level = 1; level < GUARD_LEVELS && lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0 || ar.source[0] != '@') continue;
    lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, text);
    return 1;
  }
  /* No frame of the script is left: the callback's own line is better than one of the engine. */
  lua_pushstring(L, text);
  return 1;
}

/*
 * Interpreted code has its place noted when it allocates. Compiled code would tell an old one; and where it runs out of memory
 * LuaJIT may take the wrong words of its stack for the current function, so it is left instead.
 */
void fault_on_full(struct heap *h) {
  struct generation *g = container_of(h, struct generation, heap);
  if (!g->L || !g->slot) return;
  if (g->slot->is_compiled) {
    if (!guard_can_leave(g->slot)) return;
    g->is_full = true;
    guard_leave_behind(g->slot);
  }
  lua_Debug ar;
  for (int level = 0; level < GUARD_LEVELS && lua_getstack(g->L, level, &ar); level++) {
    if (!lua_getinfo(g->L, "Sl", &ar) || ar.currentline <= 0 || ar.source[0] != '@') continue;
    (void)snprintf(g->full_at, sizeof g->full_at, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
}

const char *fault_memory_text(struct generation *g, char out[MEMORY_TEXT_MAX]) {
  (void)snprintf(out, MEMORY_TEXT_MAX, "%s%s%s", g->full_at, g->full_at[0] ? ": " : "", MEMORY_TEXT);
  g->full_at[0] = '\0';
  return out;
}

static void remember_error(struct generation *g, const char *text) {
  REQUIRE(pthread_mutex_lock(&g->error_lock) == 0);
  (void)snprintf(g->last_error, sizeof g->last_error, "%s", text);
  REQUIRE(pthread_mutex_unlock(&g->error_lock) == 0);
  strategy_stats_note_error(g->plan->stats, text);
}

static void tell_error(struct generation *g, const char *text) {
  unsigned suppressed;
  if (g->is_quiet || !log_limit_pass(&g->limit, 5, 10000, &suppressed)) return;
  if (suppressed)
    log_error("strategy %s failed: %s (%u more errors not shown)", g->name, text, suppressed);
  else
    log_error("strategy %s failed: %s", g->name, text);
}

static void set_phase(struct generation *g, enum generation_phase phase) {
  __atomic_store_n(&g->phase, phase, __ATOMIC_RELAXED);
  __atomic_store_n(phase == GENERATION_DEAD ? &g->stats.is_dead : &g->stats.is_benched, 1, __ATOMIC_RELAXED);
  if (!g->is_quiet)
    log_error("strategy %s: generation %llu in worker %u is %s, the built-in choice serves", g->name,
              (unsigned long long)g->plan->generation, g->worker,
              phase == GENERATION_DEAD ? "dead: its compiled code was left behind"
                                       : "benched: too many errors");
  if (g->on_trouble) g->on_trouble(g->trouble_context, g, phase);
}

/* Eight in a row of one callback, or half of a window of decisions. */
static bool is_too_much(struct generation *g, enum callback which) {
  uint64_t call = g->stats.callbacks[which].calls, decisions = g->stats.callbacks[CALLBACK_SELECT].calls;
  g->in_row[which] = call == g->last_fault_at[which] + 1 ? g->in_row[which] + 1 : 1;
  g->last_fault_at[which] = call;
  if (decisions - g->window_start > BENCH_WINDOW) {
    g->window_start = decisions;
    g->window_faults = 0;
  }
  g->window_faults++;
  return g->in_row[which] >= BENCH_IN_ROW || g->window_faults >= BENCH_SHARE * BENCH_WINDOW;
}

/* What LuaJIT says, in the words of an author; `rest` is what is added to it. */
static const char *in_words(const char *what, const char **rest) {
  static const char attempt[] = "attempt to ";
  static const char *const absent[] = {"'io'",         "'os'",      "'require'",  "'load'",
                                       "'loadstring'", "'dofile'",  "'loadfile'", "'debug'",
                                       "'package'",    "'ffi'",     "'jit'",      "'xpcall'",
                                       "'setfenv'",    "'getfenv'", "'module'",   "'collectgarbage'",
                                       "'newproxy'"};
  *rest = "";
  if (strstr(what, "global 'env'") || strstr(what, "global 'discover'"))
    *rest = ": that is for configurations, which `moongate check` is for";
  if (strcmp(what, "attempt to write to constant location") == 0)
    return "views are read-only, what is yours belongs into the state";
  if (strncmp(what, attempt, sizeof attempt - 1) != 0) return what;
  for (size_t i = 0; i < ARRAY_LEN(absent); i++)
    if (strstr(what, absent[i]))
      *rest = ": a strategy has no I/O, loads no code, and has no modules but the sandbox's own";
  return what;
}

/* Into a log line, a terminal, a page: nothing that would move a cursor. */
static void make_printable(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = ' ';
}

/* "file:line: callback: what"; without a callback, "file:line: what". A place that `text` lacks is `line`. */
void fault_compose(const struct generation *g, char full[SCRIPT_ERROR_MAX], const char *callback, int line,
                   const char *text) {
  const char *rest, *what = after_place(g, text);
  char place[96];
  if (what && !is_line_0(text, what))
    (void)snprintf(place, sizeof place, "%.*s", (int)(what - text), text);
  else
    (void)snprintf(place, sizeof place, "%s:%d: ", g->file, line);
  const char *words = in_words(what ? what : text, &rest);
  (void)snprintf(full, SCRIPT_ERROR_MAX, "%s%s%s%s%s", place, callback, *callback ? ": " : "", words, rest);
  make_printable(full);
}

void fault_note(struct generation *g, enum callback which, enum script_fault fault, const char *text) {
  uint64_t *count = &g->stats.callbacks[which].faults[fault];
  __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
  char full[SCRIPT_ERROR_MAX];
  fault_compose(g, full, g->what[which], g->line[which] > 0 ? g->line[which] : 1, text);
  remember_error(g, full);
  tell_error(g, full);
  if (g->phase == GENERATION_SERVING && is_too_much(g, which)) set_phase(g, GENERATION_BENCHED);
}

void fault_leave_behind(struct generation *g, enum callback which) {
  guard_abandon(g->slot);
  g->slot = g->heap.slot = NULL;
  g->L = NULL;
  /* The compiled code itself stays where it is, half a MiB at most: only its state could give it back. */
  heap_release(&g->heap);
  __atomic_store_n(&g->phase, GENERATION_DEAD, __ATOMIC_RELAXED);
  if (g->is_full)
    fault_note(g, which, FAULT_MEMORY, MEMORY_TEXT);
  else
    fault_note(g, which, FAULT_TIMEOUT, "compiled code did not come to an end and was left behind");
  set_phase(g, GENERATION_DEAD);
}
