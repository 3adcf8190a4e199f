/*
 * chunk: the Lua files inside the binary as functions. Each is read once; from then on its bytecode is kept, since reading
 * the runtime's files is most of what a new Lua state costs.
 *
 * Thread: any. Owner: the process, for its life.
 */
#ifndef MOONGATE_SCRIPT_CHUNK_H
#define MOONGATE_SCRIPT_CHUNK_H

#include <lua.h>

/*
 * Pushes the embedded file `name` as a function, called `chunk_name` in error texts. Throws when it is missing or has a
 * mistake, or when there is no memory for it.
 */
void chunk_push(lua_State *L, const char *name, const char *chunk_name);

#endif
