/*
 * options_table: what options.c (parsing) and options_text.c (help, completion) share: the one table of
 * commands and flags. Private to the two.
 *
 * Thread: any; read-only.
 */
#ifndef MOONGATE_DAEMON_OPTIONS_TABLE_H
#define MOONGATE_DAEMON_OPTIONS_TABLE_H

#include "daemon/options.h"

#include <stdio.h>

enum {
  ON_RUN = 1,
  ON_DEMO = 2,
  ON_CHECK = 4,
  ON_STRATEGY_CHECK = 8,
  ON_SIM = 16,
  ON_SIMULATE = 32,
  ON_VERIFY = 64,
  ON_PROVIDERS = 256,
  ON_TOKEN = 512,
  ON_SERVE = ON_RUN | ON_DEMO | ON_CHECK
};

enum value_type {
  VALUE_TEXT,
  VALUE_CHOICE,   /* text, one of `choices` */
  VALUE_MONEY,    /* text, an amount in 0G */
  VALUE_PROVIDER, /* text, appended to the list */
  VALUE_ENV,      /* text, read from the environment variable that the value names */
  VALUE_INT,
  VALUE_LONG,
  VALUE_UNSIGNED,
  VALUE_U64,
  VALUE_REAL,
  VALUE_NONE, /* a switch that clears a bool */
  VALUE_SET,  /* a switch that sets a bool */
};

struct flag_spec {
  unsigned commands;
  const char *name, *argument; /* argument NULL: a switch */
  enum value_type type;
  size_t offset; /* of the member in struct options */
  double min, max;
  const char *choices; /* separated by blanks */
  const char *help;    /* lines separated by \n */
};

enum { PRINTS_NOTHING, PRINTS_HELP, PRINTS_VERSION, PRINTS_COMPLETION };

struct command_spec {
  const char *group; /* heading in the list of commands */
  const char *name;
  const char *positional; /* as shown; in brackets when it may be left out */
  unsigned on;            /* its bit in flag_spec.commands */
  enum command command;
  int prints;
  size_t offset; /* where the positional argument goes */
  const char *summary;
  const char *about;    /* whole lines */
  const char *examples; /* whole lines */
};

/* Both end with an entry whose name is NULL. */
extern const struct flag_spec OPTIONS_FLAGS[];
extern const struct command_spec OPTIONS_COMMANDS[];

#define flags_each(f, c)                                                                                     \
  for (const struct flag_spec *f = OPTIONS_FLAGS; f->name; f++)                                              \
    if (f->commands & (c)->on)
#define commands_each(c) for (const struct command_spec *c = OPTIONS_COMMANDS; c->name; c++)

void options_put_version(FILE *to);
void options_put_help(FILE *to);
void options_put_command_help(FILE *to, const struct command_spec *c);
/* False when the shell is none of bash, zsh, fish. */
bool options_put_completion(FILE *to, const char *shell);

#endif
