/*
 * Owns: the state and its memory.   Invariant: no call into Lua happens outside lua_cpcall, and what is given back is wiped.
 */
#include "script/reader.h"

#include "script/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <luajit.h>
#include <lualib.h>

/* Of the file while it runs, and of the checks behind it, which hold its tokens as well. */
#define RUN_MAX_BYTES   ((size_t)64 << 20)
#define CHECK_MAX_BYTES ((size_t)512 << 20)
#define RUN_MAX_STEPS   20000000L
#define STEPS_PER_HOOK  100 /* so few, for one of them may be a long text that is made or compared */
#define RUN_MAX_MS      2000

struct reader {
  const struct reader_kind *kind;
  void *owner;
  const char *path;
  struct span text;
  size_t used_bytes, max_bytes;
  long steps;
  uint64_t began_ms; /* of the thread's processor time */
};

static struct reader *reader_of(lua_State *L) {
  void *ud = NULL;
  (void)lua_getallocf(L, &ud);
  return ud;
}

void *reader_owner(lua_State *L) {
  return reader_of(L)->owner;
}

/* ---- memory, budget ---- */

static void *reader_memory(void *ud, void *ptr, size_t old_size, size_t new_size) {
  struct reader *r = ud;
  if (!ptr) old_size = 0;
  if (new_size > old_size && new_size - old_size > r->max_bytes - r->used_bytes) return NULL;
  void *fresh = NULL;
  if (new_size) {
    fresh = malloc(new_size);
    if (!fresh) return NULL;
    if (ptr) memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
  }
  if (ptr) {
    wipe(ptr, old_size);
    free(ptr);
  }
  r->used_bytes += new_size;
  r->used_bytes -= old_size;
  return fresh;
}

static uint64_t processor_ms(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Stays armed, at every instruction, once the budget is used up: a pcall in the file cannot swallow it. */
static void on_steps(lua_State *L, lua_Debug *at) {
  struct reader *r = reader_of(L);
  r->steps += STEPS_PER_HOOK;
  bool is_slow = processor_ms() - r->began_ms >= RUN_MAX_MS;
  if (r->steps < RUN_MAX_STEPS && !is_slow) return;
  lua_sethook(L, on_steps, LUA_MASKCOUNT, 1);
  (void)lua_getinfo(L, "Sl", at);
  bool is_in_file = strcmp(at->short_src, "config") == 0;
  lua_pushfstring(
      L, "config:%d: it does not come to an end (stopped after %d %s)", is_in_file ? at->currentline : 1,
      is_slow ? RUN_MAX_MS / 1000 : (int)(RUN_MAX_STEPS / 1000000), is_slow ? "seconds" : "million steps");
  lua_error(L);
}

/* ---- files ---- */

char *reader_file(const char *path, size_t max_bytes, size_t *len, const char **why) {
  /* Others may have no end, or keep who opens them waiting. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat st = {0};
  if (fd < 0 || fstat(fd, &st)) {
    *why = err_text(-errno);
  } else if (S_ISDIR(st.st_mode)) {
    *why = err_text(-EISDIR);
  } else if (!S_ISREG(st.st_mode)) {
    *why = "not a regular file";
  } else {
    *why = NULL;
  }
  if (*why) {
    if (fd >= 0) (void)close(fd);
    return NULL;
  }
  char *data = x_malloc(max_bytes + 1);
  size_t n = 0;
  ssize_t got = 1;
  while (n <= max_bytes && got > 0) {
    got = read(fd, data + n, max_bytes + 1 - n);
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got > 0)
      n += (size_t)got;
  }
  *why = got < 0 ? err_text(-errno) : n > max_bytes ? "the file is too large" : NULL;
  (void)close(fd);
  if (*why) {
    wipe(data, n);
    free(data);
    return NULL;
  }
  *len = n;
  return data;
}

/* ---- host ---- */

int reader_refuse(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

/* Another file of scripts/runtime, as a function. */
static int host_part(lua_State *L) {
  const char *part = luaL_checkstring(L, 1);
  chunk_push(L, lua_pushfstring(L, "scripts/runtime/%s.lua", part), lua_pushfstring(L, "=%s.lua", part));
  return 1;
}

static void push_host(lua_State *L, const struct reader_kind *kind) {
  lua_newtable(L);
  lua_pushcfunction(L, host_part);
  lua_setfield(L, -2, "part");
  for (const struct luaL_Reg *f = kind->functions; f->name; f++) {
    lua_pushcfunction(L, f->func);
    lua_setfield(L, -2, f->name);
  }
  kind->host(L);
}

/* ---- the load ---- */

static void open_libraries(lua_State *L) {
  static const lua_CFunction OPENERS[] = {luaopen_base, luaopen_table, luaopen_string, luaopen_math,
                                          luaopen_debug};
  for (size_t i = 0; i < ARRAY_LEN(OPENERS); i++) {
    lua_pushcfunction(L, OPENERS[i]);
    lua_call(L, 0, 0);
  }
  (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
}

/* Leaves what the file returned, or nil after an error, which the checker has noted. */
static void run_file(lua_State *L, struct reader *r, int checker) {
  int failed = luaL_loadbufferx(L, r->text.ptr, r->text.len, "=config", "t");
  if (!failed) {
    lua_getfield(L, checker, "environment");
    lua_call(L, 0, 1);
    lua_setfenv(L, -2);
    r->max_bytes = r->used_bytes + RUN_MAX_BYTES;
    r->began_ms = processor_ms();
    lua_sethook(L, on_steps, LUA_MASKCOUNT, STEPS_PER_HOOK);
    failed = lua_pcall(L, 0, 1, 0);
    lua_sethook(L, NULL, 0, 0);
    r->max_bytes = CHECK_MAX_BYTES;
    lua_getfield(L, checker, "leave");
    lua_call(L, 0, 0);
  }
  if (!failed) return;
  lua_getfield(L, checker, "failed");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  lua_pushnil(L);
}

static int load_protected(lua_State *L) {
  struct reader *r = lua_touserdata(L, 1);
  const struct reader_kind *kind = r->kind;
  open_libraries(L);
  chunk_push(L, lua_pushfstring(L, "scripts/runtime/%s.lua", kind->checker),
             lua_pushfstring(L, "=%s.lua", kind->checker));
  push_host(L, kind);
  lua_call(L, 1, 1);
  int checker = lua_gettop(L);

  lua_getfield(L, checker, "open");
  lua_pushstring(L, r->path);
  if (r->text.ptr)
    lua_pushlstring(L, r->text.ptr, r->text.len);
  else
    lua_pushnil(L);
  lua_call(L, 2, 0);

  lua_getfield(L, checker, "check");
  if (r->text.ptr)
    run_file(L, r, checker);
  else
    lua_pushnil(L);
  int n_more = kind->arguments ? kind->arguments(L) : 0;
  lua_call(L, 1 + n_more, 1);
  int result = lua_gettop(L);
  kind->report(L, checker);
  lua_settop(L, result);
  if (lua_istable(L, result)) kind->result(L);
  return 0;
}

char *reader_load(const struct reader_kind *kind, void *owner, const char *path, struct span text) {
  struct reader r = {.kind = kind, .owner = owner, .path = path, .text = text, .max_bytes = CHECK_MAX_BYTES};
  lua_State *L = lua_newstate(reader_memory, &r);
  if (!L) return x_strdup("no Lua state can be made (out of memory, or a LuaJIT without GC64)");
  char *wrong = NULL;
  if (lua_cpcall(L, load_protected, &r)) {
    const char *why = lua_tostring(L, -1);
    wrong = x_strdup(why ? why : "the file cannot be checked");
  }
  lua_close(L);
  return wrong;
}

void reader_put_lines(lua_State *L, int checker, const char *which, struct buf *to) {
  lua_getfield(L, checker, which);
  lua_call(L, 0, 1);
  int n = (int)lua_objlen(L, -1);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    size_t len = 0;
    const char *line = lua_tolstring(L, -1, &len);
    if (buf_reserve(to, len + 1) == 0) {
      buf_put(to, line, len);
      buf_put(to, "\n", 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- fields ---- */

double field_number_or(lua_State *L, const char *name, double missing) {
  lua_getfield(L, -1, name);
  double n = lua_isnil(L, -1) ? missing : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

double field_number(lua_State *L, const char *name) {
  return field_number_or(L, name, 0);
}

bool field_is_set(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  bool is_set = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is_set;
}

const char *field_text(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *s = lua_tostring(L, -1);
  lua_pop(L, 1);
  return s ? s : "";
}

char *field_copy(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *s = lua_tostring(L, -1);
  char *copy = s ? x_strdup(s) : NULL;
  lua_pop(L, 1);
  return copy;
}

unsigned field_open_list(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  return lua_istable(L, -1) ? (unsigned)lua_objlen(L, -1) : 0;
}

char **field_copies(lua_State *L, const char *name) {
  unsigned n = field_open_list(L, name);
  char **list = x_calloc((size_t)n + 1, sizeof *list);
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    const char *s = lua_tostring(L, -1);
    list[i] = x_strdup(s ? s : "");
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return list;
}
