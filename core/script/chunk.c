/* chunk: a list of what was read, which only grows. Invariant: an entry's code never moves once others can see it. */
#include "script/chunk.h"

#include "base/base.h"
#include "base/embedded.h"

#include <lauxlib.h>

#include <pthread.h>
#include <stdlib.h>

#define CHUNK_NAME_MAX 64
#define CHUNKS_MAX     16

struct chunk {
  char name[CHUNK_NAME_MAX];
  char *code;
  size_t len, cap;
};

static struct chunk chunks[CHUNKS_MAX];
static unsigned n_chunks;
static pthread_mutex_t chunks_lock = PTHREAD_MUTEX_INITIALIZER;

static struct span find_locked(const char *name) {
  for (unsigned i = 0; i < n_chunks; i++)
    if (strcmp(chunks[i].name, name) == 0) return span_make(chunks[i].code, chunks[i].len);
  return SPAN_NONE;
}

static struct span find(const char *name) {
  REQUIRE(pthread_mutex_lock(&chunks_lock) == 0);
  struct span code = find_locked(name);
  REQUIRE(pthread_mutex_unlock(&chunks_lock) == 0);
  return code;
}

static int add_code(lua_State *L, const void *bytes, size_t len, void *to) {
  (void)L;
  struct chunk *c = to;
  if (c->len + len > c->cap) {
    c->cap = 2 * (c->len + len);
    c->code = x_realloc(c->code, c->cap);
  }
  memcpy(c->code + c->len, bytes, len);
  c->len += len;
  return 0;
}

/* What is on top. Another thread may have been quicker: the first one stays. */
static void keep(lua_State *L, const char *name) {
  struct chunk c = {.len = 0};
  int n = snprintf(c.name, sizeof c.name, "%s", name);
  if (n < 0 || (size_t)n >= sizeof c.name || lua_dump(L, add_code, &c) != 0) {
    free(c.code);
    return;
  }
  REQUIRE(pthread_mutex_lock(&chunks_lock) == 0);
  if (n_chunks < CHUNKS_MAX && !find_locked(name).ptr)
    chunks[n_chunks++] = c;
  else
    free(c.code);
  REQUIRE(pthread_mutex_unlock(&chunks_lock) == 0);
}

void chunk_push(lua_State *L, const char *name, const char *chunk_name) {
  struct span code = find(name);
  if (code.ptr) {
    if (luaL_loadbufferx(L, code.ptr, code.len, chunk_name, "b") != 0) (void)lua_error(L);
    return;
  }
  struct span text = embedded_get(name);
  if (!text.ptr) (void)luaL_error(L, "%s is missing from the program", name);
  if (luaL_loadbufferx(L, text.ptr, text.len, chunk_name, "t") != 0) (void)lua_error(L);
  keep(L, name);
}
