/*
 * reader: a Lua state in which one file of an operator runs, once: a configuration, or a scenario. The file sees plain
 * Lua without I/O, within bounds of memory, steps and processor time. Beside it, in the same state, runs a trusted checker, which is
 * a file of scripts/runtime: it says what the file may contain, notes each problem with its line, and returns a
 * normalised table, which C copies. The state is closed behind it, and its memory wiped: it may have held keys.
 *
 * A checker is a function of `host` (a table of C functions and limits) that returns
 *   open(path, text)   before anything else; both may be nil
 *   environment()      the globals of the file, which runs next
 *   leave()            the file has ended, in whatever way
 *   failed(message)    the file did not load, or raised an error
 *   check(value, …)    what the file returned, nil without a file: the normalised table, or nil
 *   problems()         a list of lines
 *
 * Thread: any, one load at a time each.
 */
#ifndef MOONGATE_SCRIPT_READER_H
#define MOONGATE_SCRIPT_READER_H

#include "base/buf.h"

#include <lauxlib.h>
#include <lua.h>

/* Of the file and of what it reads, in bytes. */
#define READER_FILE_MAX ((size_t)1 << 20)

/* What is different between one kind of file and another. The functions may throw. */
struct reader_kind {
  const char *checker;                       /* scripts/runtime/<checker>.lua */
  const struct luaL_Reg *functions;          /* of the host, beside part(name); ends with a zeroed one */
  void (*host)(lua_State *L);                /* adds the rest to the host, which is on top */
  int (*arguments)(lua_State *L);            /* pushes more for check(), and tells how many; NULL: nothing */
  void (*report)(lua_State *L, int checker); /* the problems, and what else the checker has noted */
  void (*result)(lua_State *L);              /* the normalised table is on top */
};

/*
 * Runs `text` (ptr NULL: no file) under the name `path`. NULL when everything went its way, with or without a result; else
 * why not, for the caller to free: no memory, or a fault of the checker. `owner` is what reader_owner() returns.
 */
char *reader_load(const struct reader_kind *kind, void *owner, const char *path, struct span text);
void *reader_owner(lua_State *L);

/* The bytes of a file, for the caller to wipe and free; NULL with a static text in *why. */
char *reader_file(const char *path, size_t max_bytes, size_t *len, const char **why);

/* For functions of a host: returns nil and why. */
int reader_refuse(lua_State *L, const char *why);
/* Calls the checker's function `which`, and appends the lines that it returns, as long as there is room. */
void reader_put_lines(lua_State *L, int checker, const char *which, struct buf *to);

/* ---- fields of the table on top of the stack, which has been checked ---- */

double field_number(lua_State *L, const char *name); /* 0 when absent */
double field_number_or(lua_State *L, const char *name, double missing);
bool field_is_set(lua_State *L, const char *name);
/* Borrowed while the table lives; "" when absent. */
const char *field_text(lua_State *L, const char *name);
/* For the caller to free. NULL when absent. */
char *field_copy(lua_State *L, const char *name);
/* Ends with NULL; all of it is the caller's to free. Empty when absent. */
char **field_copies(lua_State *L, const char *name);
/* Pushes it, whatever it is, and tells its length as a list. */
unsigned field_open_list(lua_State *L, const char *name);

#endif
