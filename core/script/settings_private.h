/* For the files of settings: one load, and what one file asks of another. */
#ifndef MOONGATE_SCRIPT_SETTINGS_PRIVATE_H
#define MOONGATE_SCRIPT_SETTINGS_PRIVATE_H

#include "script/reader.h"
#include "script/settings.h"

/* The owner of a reader's load. */
struct load {
  struct settings_report *report;
  const char *path; /* NULL: no file */
  bool is_from_disk;
  const struct settings_overrides *overrides;
  struct registry *registry;
  char *scratch; /* of host.read, so that an error on the way does not lose it */
  size_t scratch_len;
  struct plan *plan;
};

/* settings_host.c */
extern const struct luaL_Reg SETTINGS_HOST[];
/* Adds `limits` to the host, which is on top. */
void settings_push_limits(lua_State *L);
void settings_drop_scratch(struct load *load);

/* settings_plan.c: the checked table is on top. */
void settings_build_plan(lua_State *L);

#endif
