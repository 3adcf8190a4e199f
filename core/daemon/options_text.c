#include "daemon/options_table.h"

#include <stdlib.h>
#include <unistd.h>

/* Environment variables that count for `run`, for its help. */
static const char ENVIRONMENT[] =
    "  MOONGATE_HOST, MOONGATE_PORT, MOONGATE_STRATEGY, MOONGATE_WORKERS, MOONGATE_MAX_RETRIES,\n"
    "  MOONGATE_HEALTH_CHECK_INTERVAL, MOONGATE_SESSION_TIMEOUT, MOONGATE_LOG_LEVEL,\n"
    "  MOONGATE_LOG_FORMAT     as the flags\n"
    "  MOONGATE_PROVIDERS      providers, separated by commas\n"
    "  MOONGATE_ADMIN_TOKEN    as adminToken in the file\n"
    "  RPC_ENDPOINT            as --rpc\n"
    "  ZG_PRIVATE_KEY          key of the wallet; never a flag, where others could read it\n";

/* ---- help ---- */

static bool is_terminal(FILE *to) {
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fileno(to)) && !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0;
}

static void put_heading(FILE *to, const char *text) {
  bool is_bold = is_terminal(to);
  (void)fprintf(to, "%s%s%s\n", is_bold ? "\033[1m" : "", text, is_bold ? "\033[0m" : "");
}

/* "  left          help", further lines of the help under its first. */
static void put_row(FILE *to, const char *left, int width, const char *help) {
  (void)fprintf(to, "  %-*s  ", width, left);
  for (const char *c = help; *c; c++) {
    (void)fputc(*c, to);
    if (*c == '\n') (void)fprintf(to, "%*s", width + 4, "");
  }
  (void)fputc('\n', to);
}

static void put_flag(FILE *to, const struct flag_spec *f) {
  char left[64];
  (void)snprintf(left, sizeof left, "--%s%s%s", f->name, f->argument ? " " : "",
                 f->argument ? f->argument : "");
  put_row(to, left, 26, f->help);
}

void options_put_version(FILE *to) {
  (void)fprintf(to, "moongate %s\n", MOONGATE_VERSION);
}

void options_put_help(FILE *to) {
  (void)fprintf(to, "moongate %s: one OpenAI-compatible endpoint in front of many providers\n\n",
                MOONGATE_VERSION);
  put_heading(to, "Usage");
  (void)fputs("  moongate COMMAND [ARGUMENT] [FLAGS]\n", to);
  const char *group = "";
  commands_each(c) {
    if (strcmp(c->group, group) != 0) {
      (void)fputc('\n', to);
      put_heading(to, c->group);
      group = c->group;
    }
    char left[64];
    (void)snprintf(left, sizeof left, "%s %s", c->name, c->positional);
    put_row(to, left, 29, c->summary);
  }
  (void)fputc('\n', to);
  put_heading(to, "Examples");
  (void)fputs("  moongate demo                         try it: http://127.0.0.1:3000\n"
              "  moongate check moongate.lua           before a start\n"
              "  moongate run moongate.lua --port 8080\n"
              "\n"
              "`moongate help COMMAND` or `moongate COMMAND --help` tells the flags.\n"
              "Exit codes: 0 fine, 1 a problem that the text names, 2 wrong usage.\n",
              to);
}

void options_put_command_help(FILE *to, const struct command_spec *c) {
  (void)fprintf(to, "moongate %s: %s\n\n", c->name, c->summary);
  put_heading(to, "Usage");
  (void)fprintf(to, "  moongate %s%s%s%s\n", c->name, c->positional[0] ? " " : "", c->positional,
                c->on ? " [FLAGS]" : "");
  if (c->about[0]) (void)fprintf(to, "\n%s", c->about);
  (void)fputc('\n', to);
  put_heading(to, "Flags");
  flags_each(f, c) put_flag(to, f);
  put_row(to, "-h, --help", 26, "this text");
  if (c->command == COMMAND_RUN) {
    (void)fputc('\n', to);
    put_heading(to, "Environment");
    (void)fputs(ENVIRONMENT, to);
  }
  if (c->examples[0]) {
    (void)fputc('\n', to);
    put_heading(to, "Examples");
    (void)fputs(c->examples, to);
  }
}

/* ---- completion ---- */

static struct span first_word(const char *name) {
  return span_make(name, strcspn(name, " "));
}

/* Commands of two words stand together in the table, so that each first word is printed once. */
static void put_names_of_commands(FILE *to) {
  struct span last = SPAN_NONE;
  commands_each(c) {
    struct span word = first_word(c->name);
    if (!span_eq(word, last)) (void)fprintf(to, "%s%.*s", last.len ? " " : "", SPAN_FMT(word));
    last = word;
  }
}

/* Of the commands that begin with this word. */
static void put_second_words(FILE *to, const char *first) {
  const char *gap = "";
  commands_each(c) {
    if (!span_eq(first_word(c->name), span_str(first)) || !strchr(c->name, ' ')) continue;
    (void)fprintf(to, "%s%s", gap, strchr(c->name, ' ') + 1);
    gap = " ";
  }
}

static void put_bash(FILE *to) {
  (void)fputs("# bash completion for moongate\n"
              "_moongate() {\n"
              "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
              "  local command=${COMP_WORDS[1]}\n"
              "  [ \"$command\" = strategy ] && command=\"strategy ${COMP_WORDS[2]}\"\n"
              "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
              "    words='",
              to);
  put_names_of_commands(to);
  (void)fputs(" --help --version'\n"
              "  elif [ \"$COMP_CWORD\" -eq 2 ] && [ \"${COMP_WORDS[1]}\" = strategy ]; then\n"
              "    words='",
              to);
  put_second_words(to, "strategy");
  (void)fputs("'\n"
              "  else\n"
              "    case $command:$prev in\n",
              to);
  for (const struct flag_spec *f = OPTIONS_FLAGS; f->name; f++)
    if (f->choices) (void)fprintf(to, "      *:--%s) words='%s' ;;\n", f->name, f->choices);
  (void)fputs("      completion:*) words='bash zsh fish' ;;\n", to);
  commands_each(c) {
    if (!c->on) continue;
    (void)fprintf(to, "      '%s':*) words='", c->name);
    flags_each(f, c)(void) fprintf(to, "--%s ", f->name);
    (void)fputs("--help' ;;\n", to);
  }
  (void)fputs("    esac\n"
              "  fi\n"
              "  case $cur:$words in\n"
              "    [!-]*:--*) COMPREPLY=() ;;\n"
              "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
              "  esac\n"
              "}\n"
              "complete -o default -F _moongate moongate\n",
              to);
}

/* A help text inside single quotes and square brackets of a shell: one line, nothing that ends either. */
static void put_description(FILE *to, const char *help) {
  for (const char *c = help; *c; c++)
    (void)fputc(*c == '\n' ? ' ' : *c == '\'' || *c == '[' || *c == ']' || *c == ':' ? ' ' : *c, to);
}

static void put_zsh(FILE *to) {
  (void)fputs("#compdef moongate\n"
              "_moongate() {\n"
              "  if (( CURRENT == 2 )); then\n"
              "    compadd -- ",
              to);
  put_names_of_commands(to);
  (void)fputs("\n    return\n"
              "  fi\n"
              "  local command=$words[2]\n"
              "  if [[ $command == strategy ]]; then\n"
              "    if (( CURRENT == 3 )); then compadd -- ",
              to);
  put_second_words(to, "strategy");
  (void)fputs("; return; fi\n"
              "    command=\"strategy $words[3]\"\n"
              "  fi\n"
              "  case $command in\n"
              "    completion) compadd -- bash zsh fish ;;\n",
              to);
  commands_each(c) {
    if (!c->on) continue;
    (void)fprintf(to, "    '%s') _arguments", c->name);
    flags_each(f, c) {
      (void)fprintf(to, " \\\n      '%s--%s%s[", f->type == VALUE_PROVIDER ? "*" : "", f->name,
                    f->argument ? "=" : "");
      put_description(to, f->help);
      (void)fputs("]", to);
      if (f->choices)
        (void)fprintf(to, ":%s:(%s)", f->argument, f->choices);
      else if (f->argument)
        (void)fprintf(to, ":%s:", f->argument);
      (void)fputs("'", to);
    }
    (void)fputs(" \\\n      '--help[help]' '*:file:_files' ;;\n", to);
  }
  (void)fputs(
      "  esac\n"
      "}\n"
      "if [[ $funcstack[1] == _moongate ]]; then _moongate \"$@\"; else compdef _moongate moongate; fi\n",
      to);
}

static void put_fish(FILE *to) {
  (void)fputs("# fish completion for moongate\n", to);
  commands_each(c) {
    const char *blank = strchr(c->name, ' ');
    int len = (int)first_word(c->name).len;
    (void)fprintf(to, "complete -c moongate -f -n __fish_use_subcommand -a %.*s -d '", len, c->name);
    put_description(to, c->summary);
    (void)fputs("'\n", to);
    if (blank)
      (void)fprintf(to, "complete -c moongate -n '__fish_seen_subcommand_from %.*s' -a %s\n", len, c->name,
                    blank + 1);
    flags_each(f, c) {
      const char *word = blank ? blank + 1 : c->name;
      (void)fprintf(to, "complete -c moongate -n '__fish_seen_subcommand_from %s' -l %s", word, f->name);
      if (f->argument) (void)fputs(" -r", to);
      if (f->choices) (void)fprintf(to, " -f -a '%s'", f->choices);
      (void)fputs(" -d '", to);
      put_description(to, f->help);
      (void)fputs("'\n", to);
    }
  }
  (void)fputs("complete -c moongate -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n", to);
}

bool options_put_completion(FILE *to, const char *shell) {
  if (strcmp(shell, "bash") == 0)
    put_bash(to);
  else if (strcmp(shell, "zsh") == 0)
    put_zsh(to);
  else if (strcmp(shell, "fish") == 0)
    put_fish(to);
  else
    return false;
  return true;
}
