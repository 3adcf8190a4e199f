#include "daemon/options_table.h"

#include "base/redact.h"
#include "base/spelling.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the table ---- */

#define AT(member) offsetof(struct options, member)
#define DAY_MS     (24.0 * 3600 * 1000)

const struct flag_spec OPTIONS_FLAGS[] = {
    {ON_SERVE, "host", "H", VALUE_TEXT, AT(overrides.host), 0, 0, NULL,
     "address to listen on (default 0.0.0.0; demo: 127.0.0.1)"},
    {ON_SERVE, "port", "N", VALUE_INT, AT(overrides.port), 0, 65535, NULL,
     "port to listen on, 0 picks a free one (default 3000)"},
    {ON_SERVE, "strategy", "S", VALUE_TEXT, AT(overrides.strategy), 0, 0, NULL,
     "a preset such as least-connections, or the path of a .lua file\n(default round-robin)"},
    {ON_RUN | ON_CHECK, "provider", "P", VALUE_PROVIDER, 0, 0, 0, NULL,
     "an address (0x…) or a URL (http://…); may be repeated;\nreplaces the list of the file"},
    {ON_SERVE, "max-retries", "N", VALUE_LONG, AT(overrides.max_retries), 0, 255, NULL,
     "further providers tried after the first (default 3)"},
    {ON_SERVE, "health-check-interval", "MS", VALUE_LONG, AT(overrides.health_interval_ms), 10, DAY_MS, NULL,
     "time between two health checks (default 30000)"},
    {ON_SERVE, "session-timeout", "MS", VALUE_LONG, AT(overrides.session_timeout_ms), 1, 30 * DAY_MS, NULL,
     "how long an answer can be verified (default 1800000)"},
    {ON_RUN | ON_CHECK | ON_PROVIDERS | ON_TOKEN, "rpc", "URL", VALUE_TEXT, AT(overrides.rpc), 0, 0, NULL,
     "node of the chain"},
    {ON_SERVE, "workers", "N", VALUE_LONG, AT(overrides.workers), 0, 256, NULL,
     "threads that serve, 0 is one per core (default 0)"},
    {ON_RUN, "supervise", NULL, VALUE_SET, AT(supervise), 0, 0, NULL,
     "start the program again when it dies, with its sockets kept open"},
    {ON_SERVE, "log-level", "L", VALUE_CHOICE, AT(overrides.log_level), 0, 0, "debug info warn error off",
     "debug, info, warn, error or off (default info)"},
    {ON_SERVE, "log-format", "F", VALUE_CHOICE, AT(overrides.log_format), 0, 0, "text json",
     "text or json (default text)"},

    {ON_PROVIDERS, "model", "NAME", VALUE_TEXT, AT(market.model), 0, 0, NULL, "only services of this model"},
    {ON_PROVIDERS, "type", "TYPE", VALUE_TEXT, AT(market.type), 0, 0, NULL,
     "only services of this type, such as chatbot or text-to-image"},
    {ON_PROVIDERS, "verifiable", NULL, VALUE_SET, AT(market.is_verifiable), 0, 0, NULL,
     "only services whose answers can be verified"},
    {ON_PROVIDERS, "max-price-in", "0G", VALUE_MONEY, AT(market.max_price_in), 0, 0, NULL,
     "at most so many 0G for a million tokens of input, or for an image"},
    {ON_PROVIDERS, "max-price-out", "0G", VALUE_MONEY, AT(market.max_price_out), 0, 0, NULL,
     "at most so many 0G for a million tokens of output"},
    {ON_PROVIDERS, "json", NULL, VALUE_SET, AT(market.is_json), 0, 0, NULL, "print JSON"},
    {ON_TOKEN, "duration", "S", VALUE_REAL, AT(token.duration_s), 1, 86400, NULL,
     "seconds that the token is valid (default 86400)"},
    {ON_TOKEN, "config", "FILE", VALUE_TEXT, AT(config), 0, 0, NULL,
     "configuration that names node, contracts and wallet"},

    {ON_SIM, "port", "N", VALUE_INT, AT(sim.port), 0, 65535, NULL,
     "port to listen on, 0 picks a free one; required"},
    {ON_SIM, "host", "H", VALUE_TEXT, AT(sim.host), 0, 0, NULL, "address to listen on (default 127.0.0.1)"},
    {ON_SIM, "name", "TEXT", VALUE_TEXT, AT(sim.name), 0, 0, NULL,
     "name that its answers carry (default sim)"},
    {ON_SIM, "model", "TEXT", VALUE_TEXT, AT(sim.model), 0, 0, NULL,
     "model that it serves (default sim-model)"},
    {ON_SIM, "tokens", "N", VALUE_UNSIGNED, AT(sim.tokens), 1, 1000000, NULL,
     "length of an answer (default 24)"},
    {ON_SIM, "tokens-per-second", "R", VALUE_REAL, AT(sim.tokens_per_second), 0, 1e6, NULL,
     "speed of an answer, 0 is at once (default 0)"},
    {ON_SIM, "latency", "MS", VALUE_UNSIGNED, AT(sim.latency_ms), 0, DAY_MS, NULL,
     "time before the first byte (default 0)"},
    {ON_SIM, "error-rate", "R", VALUE_REAL, AT(sim.error_rate), 0, 1, NULL,
     "share of chats answered with an error, 0 to 1 (default 0)"},
    {ON_SIM, "status", "N", VALUE_INT, AT(sim.status), 400, 599, NULL,
     "status of those errors (default 500)"},
    {ON_SIM, "retry-after", "S", VALUE_UNSIGNED, AT(sim.retry_after_s), 0, 86400, NULL,
     "Retry-After of a 429 or 503 in seconds, 0 is none (default 0)"},
    {ON_SIM, "hang-rate", "R", VALUE_REAL, AT(sim.hang_rate), 0, 1, NULL,
     "share of chats that are never answered (default 0)"},
    {ON_SIM, "truncate-rate", "R", VALUE_REAL, AT(sim.truncate_rate), 0, 1, NULL,
     "share of chats cut off in the middle (default 0)"},
    {ON_SIM, "no-res-key", NULL, VALUE_NONE, AT(sim.res_key), 0, 0, NULL, "send no ZG-Res-Key header"},
    {ON_SIM, "api-key-env", "NAME", VALUE_ENV, AT(sim.api_key), 0, 0, NULL,
     "demand the key in this environment variable as bearer token"},
    {ON_SIM, "seed", "N", VALUE_U64, AT(sim.seed), 0, 9007199254740991.0, NULL,
     "the same seed makes the same faults (default 1)"},

    {ON_VERIFY, "host", "H", VALUE_TEXT, AT(verify.host), 0, 0, NULL,
     "address of the balancer (default 127.0.0.1)"},
    {ON_VERIFY, "port", "N", VALUE_INT, AT(verify.port), 1, 65535, NULL,
     "port of the balancer (default 3000)"},
    {ON_VERIFY, "api-key-env", "NAME", VALUE_ENV, AT(verify.api_key), 0, 0, NULL,
     "send the key in this environment variable, for a balancer\nwith clientKeys"},
    {ON_VERIFY, "json", NULL, VALUE_SET, AT(verify.is_json), 0, 0, NULL, "print the balancer's JSON"},

    {ON_SIMULATE, "providers", "N", VALUE_UNSIGNED, AT(simulate.providers), 1, PLAN_PROVIDERS_MAX, NULL,
     "number of made-up providers, of five kinds in turn (default 5)"},
    {ON_SIMULATE, "requests", "N", VALUE_UNSIGNED, AT(simulate.requests), 1, 1e7, NULL,
     "so many requests (default 10000, or until --duration)"},
    {ON_SIMULATE, "rate", "R", VALUE_REAL, AT(simulate.rate), 0.01, 1e6, NULL,
     "requests per second, at random times\n(default half of what all providers can do)"},
    {ON_SIMULATE, "clients", "N", VALUE_UNSIGNED, AT(simulate.clients), 1, 1e5, NULL,
     "in place of a rate: clients that ask again when they have\ntheir answer"},
    {ON_SIMULATE, "workers", "N", VALUE_UNSIGNED, AT(simulate.workers), 1, 64, NULL,
     "workers, each with a strategy state of its own (default 2)"},
    {ON_SIMULATE, "duration", "S", VALUE_REAL, AT(simulate.duration_s), 0.001, 7 * DAY_MS / 1000, NULL,
     "seconds of virtual time in which requests arrive"},
    {ON_SIMULATE, "seed", "N", VALUE_U64, AT(simulate.seed), 0, 9007199254740991.0, NULL,
     "the same seed gives the same result (default 1)"},
    {ON_SIMULATE, "scenario", "FILE", VALUE_TEXT, AT(simulate.scenario), 0, 0, NULL,
     "providers and load from a Lua file; other flags win over it"},
    {ON_SIMULATE, "compare", "OTHER", VALUE_TEXT, AT(simulate.other), 0, 0, NULL,
     "a second strategy, FILE or PRESET, over the same requests"},
    {ON_SIMULATE, "json", NULL, VALUE_SET, AT(simulate.is_json), 0, 0, NULL, "print JSON"},
    {0},
};

const struct command_spec OPTIONS_COMMANDS[] = {
    {"Serve", "run", "[CONFIG.lua]", ON_RUN, COMMAND_RUN, PRINTS_NOTHING, AT(config),
     "serve what a configuration says",
     "Serves an OpenAI-compatible endpoint and hands each request to one of the providers.\n"
     "Flags win over the file, the file over the environment, the environment over defaults.\n"
     "Prints `listening on http://HOST:PORT` when it accepts; logs go to standard error.\n",
     "  moongate run moongate.lua\n"
     "  moongate run moongate.lua --port 8080 --strategy least-connections\n"
     "  moongate run --provider http://10.0.0.5:8000/v1 --provider http://10.0.0.6:8000/v1\n"},
    {"Serve", "demo", "", ON_DEMO, COMMAND_DEMO, PRINTS_NOTHING, 0,
     "serve three simulated providers, to try it out",
     "Three simulated providers and the balancer in one program, on 127.0.0.1:3000.\n"
     "Nothing has to be installed or configured.\n",
     "  moongate demo\n"
     "  moongate demo --strategy least-connections --log-level debug\n"},
    {"Check", "check", "CONFIG.lua", ON_CHECK, COMMAND_CHECK, PRINTS_NOTHING, AT(config),
     "find every problem of a configuration",
     "Does everything that a start would do, short of serving, and prints every problem with\n"
     "its file and line. Exit code 0 when there is none, else 1.\n",
     "  moongate check moongate.lua\n"},
    {"Check", "strategy check", "FILE", ON_STRATEGY_CHECK, COMMAND_STRATEGY_CHECK, PRINTS_NOTHING, AT(file),
     "load a strategy and run it over made-up requests",
     "Loads the file and calls it with made-up requests and providers, under the limits that\n"
     "hold in service. Exit code 0 when it keeps to the rules, else 1.\n",
     "  moongate strategy check my-strategy.lua\n"},
    {"Chain", "providers", "[CONFIG.lua]", ON_PROVIDERS, COMMAND_PROVIDERS, PRINTS_NOTHING, AT(config),
     "list the services of the 0G compute contract",
     "Reads all services from the contract, by the node of --rpc, the environment or the\n"
     "configuration, and prints address, type, prices, model and url.\n",
     "  moongate providers --rpc https://evmrpc.0g.ai\n"
     "  moongate providers --rpc https://evmrpc.0g.ai --type chatbot --verifiable --max-price-in 0.5 "
     "--json\n"},
    {"Chain", "token", "PROVIDER", ON_TOKEN, COMMAND_TOKEN, PRINTS_NOTHING, AT(token.provider),
     "print a session token for a provider",
     "Signs a session token with the wallet's key (ZG_PRIVATE_KEY, or keyFile of --config) for\n"
     "that provider's address, and prints it. Whoever has it can spend from the sub-account there\n"
     "until it ends.\n",
     "  moongate token 0x1234567890123456789012345678901234567890 --rpc https://evmrpc.0g.ai --duration 600\n"
     "  curl -H \"Authorization: Bearer $(moongate token 0x1234…)\" "
     "https://provider.example/v1/proxy/chat/completions …\n"},
    {"Chain", "verify", "ID", ON_VERIFY, COMMAND_VERIFY, PRINTS_NOTHING, AT(verify.id),
     "ask a running balancer whether an answer is proved",
     "ID is the ZG-Res-Key header of an answer, or the id in it. The balancer asks the provider that\n"
     "gave the answer for its signature, and compares it with the contract and with the bytes that\n"
     "passed. Exit code 0 when the answer is valid, else 1.\n",
     "  moongate verify 6f1a3c0e-0a4e-4b0a-9d57-2f5a3b0f7f11\n"
     "  moongate verify chatcmpl-123 --port 8080 --json\n"},
    {"Try", "strategy simulate", "FILE|PRESET", ON_SIMULATE, COMMAND_STRATEGY_SIMULATE, PRINTS_NOTHING,
     AT(simulate.strategy), "run a strategy over made-up providers in virtual time",
     "Lets the real strategy choose among made-up providers, with the service's own rules for\n"
     "health and retries, and prints who got how much, latencies and failures. No socket is\n"
     "opened and nothing sleeps: an hour takes seconds. The same seed gives the same result.\n",
     "  moongate strategy simulate least-connections\n"
     "  moongate strategy simulate my-strategy.lua --compare round-robin --requests 100000\n"
     "  moongate strategy simulate p2c --scenario examples/scenarios/outage.lua --json\n"},
    {"Try", "sim-provider", "", ON_SIM, COMMAND_SIM_PROVIDER, PRINTS_NOTHING, 0,
     "one simulated provider with faults on demand",
     "Answers chats as a provider would, as slowly and as badly as the flags say.\n",
     "  moongate sim-provider --port 9001\n"
     "  moongate sim-provider --port 9002 --latency 300 --tokens-per-second 40 --error-rate 0.1\n"},
    {"Other", "completion", "bash|zsh|fish", 0, COMMAND_HELP, PRINTS_COMPLETION, AT(topic),
     "print a script that completes commands and flags", "Prints a completion script for the shell.\n",
     "  moongate completion bash > /etc/bash_completion.d/moongate\n"
     "  moongate completion zsh > \"${fpath[1]}/_moongate\"\n"
     "  moongate completion fish > ~/.config/fish/completions/moongate.fish\n"},
    {"Other", "version", "", 0, COMMAND_VERSION, PRINTS_VERSION, 0, "print the version", "", ""},
    {"Other", "help", "[COMMAND]", 0, COMMAND_HELP, PRINTS_HELP, AT(topic), "this text, or that of a command",
     "", ""},
    {0},
};

/* ---- suggestions, errors ---- */

/* Bytes of an unknown flag in a message. */
#define NAME_SHOWN_MAX 64

PRINTF_LIKE(2, 3) static enum options_result wrong(const struct command_spec *c, const char *format, ...) {
  struct buf text;
  va_list args;
  buf_init(&text, 1 << 20);
  va_start(args, format);
  if (buf_append_va(&text, format, args)) buf_clear(&text);
  va_end(args);
  (void)redact_digits(&text);
  (void)fprintf(stderr, "moongate: %s", buf_cstr(&text));
  buf_release(&text);
  (void)fprintf(stderr, "\nTry `moongate %s%s--help`.\n", c ? c->name : "", c ? " " : "");
  return OPTIONS_WRONG;
}

/* The command that was probably meant, or NULL. */
static const char *nearest_command(const char *name) {
  const char *best = NULL;
  unsigned best_distance = SPELLING_FAR;
  commands_each(c) {
    unsigned distance = spelling_distance(name, c->name);
    if (distance >= best_distance) continue;
    best = c->name;
    best_distance = distance;
  }
  return best && spelling_is_near(name, best_distance) ? best : NULL;
}

static enum options_result unknown_command(const char *name) {
  struct span text = span_str(name);
  if (span_ends(text, SPAN(".lua")))
    return wrong(NULL, "unknown command \"%s\"; did you mean \"moongate run %s\"?", name, name);
  const char *best = nearest_command(name);
  if (best) return wrong(NULL, "unknown command \"%s\"; did you mean \"%s\"?", name, best);
  return wrong(NULL, "unknown command \"%s\"", name);
}

static enum options_result unknown_flag(const struct command_spec *c, const char *name) {
  bool is_key = strcmp(name, "key") == 0 || strcmp(name, "private-key") == 0;
  if (is_key)
    return wrong(
        c, "--%s: a key is never an argument, where others can read it: set ZG_PRIVATE_KEY or keyFile", name);
  const struct flag_spec *best = NULL;
  unsigned best_distance = SPELLING_FAR;
  flags_each(f, c) {
    unsigned distance = spelling_distance(name, f->name);
    if (distance >= best_distance) continue;
    best = f;
    best_distance = distance;
  }
  if (best && spelling_is_near(name, best_distance))
    return wrong(c, "unknown flag --%s; did you mean --%s?", name, best->name);
  return wrong(c, "unknown flag --%s for `moongate %s`", name, c->name);
}

/* ---- values ---- */

static bool is_choice(const char *choices, const char *value) {
  size_t len = strlen(value);
  for (const char *at = choices; *at;) {
    size_t word = strcspn(at, " ");
    if (word == len && memcmp(at, value, len) == 0) return true;
    at += word + (at[word] == ' ');
  }
  return false;
}

static bool read_number(const struct flag_spec *f, const char *value, double *out) {
  bool is_real = f->type == VALUE_REAL;
  for (const char *c = value; *c; c++) {
    bool is_first = c == value;
    if (!isdigit((unsigned char)*c) && !(is_real && *c == '.') && !(is_first && *c == '-')) return false;
  }
  char *end;
  *out = strtod(value, &end);
  return end != value && !*end && isfinite(*out) && *out >= f->min && *out <= f->max;
}

static void store_number(struct options *o, const struct flag_spec *f, double n) {
  void *to = (char *)o + f->offset;
  switch (f->type) {
  case VALUE_INT: *(int *)to = (int)n; break;
  case VALUE_LONG: *(long *)to = (long)n; break;
  case VALUE_UNSIGNED: *(unsigned *)to = (unsigned)n; break;
  case VALUE_U64: *(uint64_t *)to = (uint64_t)n; break;
  default: *(double *)to = n; break;
  }
}

static enum options_result store_text(struct options *o, const struct flag_spec *f, const char *value) {
  const char **to = (const char **)(void *)((char *)o + f->offset);
  *to = value;
  return OPTIONS_GO;
}

static enum options_result add_provider(struct options *o, const struct command_spec *c, const char *value) {
  if (o->overrides.n_providers == ARRAY_LEN(o->provider_list))
    return wrong(c, "--provider can be given %zu times at most", ARRAY_LEN(o->provider_list));
  o->provider_list[o->overrides.n_providers++] = value;
  o->overrides.providers = o->provider_list;
  return OPTIONS_GO;
}

static enum options_result store_value(struct options *o, const struct command_spec *c,
                                       const struct flag_spec *f, const char *value) {
  if (!value[0]) return wrong(c, "--%s needs a value that is not empty", f->name);
  double n;
  switch (f->type) {
  case VALUE_TEXT: return store_text(o, f, value);
  case VALUE_PROVIDER: return add_provider(o, c, value);
  case VALUE_MONEY: {
    struct u256 neuron;
    if (u256_parse_0g(&neuron, span_str(value)))
      return wrong(c, "--%s needs an amount in 0G such as 0.5, not \"%s\"", f->name, value);
    return store_text(o, f, value);
  }
  case VALUE_CHOICE:
    if (!is_choice(f->choices, value))
      return wrong(c, "--%s is one of: %s; not \"%s\"", f->name, f->choices, value);
    return store_text(o, f, value);
  case VALUE_ENV: {
    const char *secret = getenv(value);
    if (!secret || !secret[0]) return wrong(c, "--%s: environment variable %s is not set", f->name, value);
    redact_add(span_str(secret));
    return store_text(o, f, secret);
  }
  default:
    if (!read_number(f, value, &n))
      return wrong(c, "--%s needs a %snumber between %.16g and %.16g, not \"%s\"", f->name,
                   f->type == VALUE_REAL ? "" : "whole ", f->min, f->max, value);
    store_number(o, f, n);
    return OPTIONS_GO;
  }
}

/* ---- parsing ---- */

static const struct command_spec *find_command(const char *name) {
  commands_each(c) if (strcmp(c->name, name) == 0) return c;
  return NULL;
}

/* `text` up to `len` is the flag's name. */
static const struct flag_spec *find_flag(const struct command_spec *c, const char *text, size_t len) {
  flags_each(f, c) {
    if (span_eq(span_make(text, len), span_str(f->name))) return f;
  }
  return NULL;
}

static bool is_help_flag(const char *arg) {
  return strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0;
}

/* One flag at argv[*at]; moves *at behind its value. */
static enum options_result parse_flag(struct options *o, const struct command_spec *c, int argc, char **argv,
                                      int *at) {
  const char *arg = argv[*at];
  if (arg[1] != '-') return wrong(c, "unknown flag %s: flags are long, as in --port 8080", arg);
  const char *name = arg + 2;
  size_t len = strcspn(name, "=");
  const struct flag_spec *f = find_flag(c, name, len);
  if (!f) {
    char shown[NAME_SHOWN_MAX + 1];
    (void)snprintf(shown, sizeof shown, "%.*s", (int)(len < NAME_SHOWN_MAX ? len : NAME_SHOWN_MAX), name);
    return unknown_flag(c, shown);
  }
  (*at)++;
  const char *value = name[len] == '=' ? name + len + 1 : NULL;
  if (f->type == VALUE_NONE || f->type == VALUE_SET) {
    if (value) return wrong(c, "--%s takes no value", f->name);
    *(bool *)((char *)o + f->offset) = f->type == VALUE_SET;
    return OPTIONS_GO;
  }
  if (!value && *at < argc && strncmp(argv[*at], "--", 2) != 0) value = argv[(*at)++];
  if (!value) return wrong(c, "--%s needs a value: --%s %s", f->name, f->name, f->argument);
  return store_value(o, c, f, value);
}

static enum options_result parse_positional(struct options *o, const struct command_spec *c,
                                            const char *arg) {
  if (!c->positional[0]) return wrong(c, "`moongate %s` takes no argument \"%s\"", c->name, arg);
  const char **to = (const char **)(void *)((char *)o + c->offset);
  if (*to) return wrong(c, "one %s is enough: \"%s\" is left over", c->positional, arg);
  if (!arg[0]) return wrong(c, "%s must not be empty", c->positional);
  *to = arg;
  return OPTIONS_GO;
}

static enum options_result parse_arguments(struct options *o, const struct command_spec *c, int argc,
                                           char **argv, int at) {
  for (int i = at; i < argc && strcmp(argv[i], "--") != 0; i++) {
    if (!is_help_flag(argv[i])) continue;
    options_put_command_help(stdout, c);
    return OPTIONS_DONE;
  }
  bool has_flags = true;
  while (at < argc) {
    enum options_result result = OPTIONS_GO;
    const char *arg = argv[at];
    if (has_flags && strcmp(arg, "--") == 0) {
      has_flags = false;
      at++;
    } else if (has_flags && arg[0] == '-' && arg[1]) {
      result = parse_flag(o, c, argc, argv, &at);
    } else {
      result = parse_positional(o, c, arg);
      at++;
    }
    if (result != OPTIONS_GO) return result;
  }
  return OPTIONS_GO;
}

/* The second word of a command whose first is `first`, else NULL. */
static const char *second_word(const struct command_spec *c, const char *first) {
  size_t len = strlen(first);
  return len && strncmp(c->name, first, len) == 0 && c->name[len] == ' ' ? c->name + len + 1 : NULL;
}

/* The command at argv[*at], of one or two words; NULL after an error was printed. */
static const struct command_spec *parse_command(int argc, char **argv, int *at) {
  const char *word = argv[*at];
  const struct command_spec *exact = find_command(word);
  if (exact) {
    (*at)++;
    return exact;
  }
  char known[256] = "";
  size_t len = 0;
  commands_each(c) {
    const char *second = second_word(c, word);
    if (!second) continue;
    if (*at + 1 < argc && strcmp(argv[*at + 1], second) == 0) {
      *at += 2;
      return c;
    }
    int n = snprintf(known + len, sizeof known - len, "%smoongate %s %s", len ? ", or " : "", c->name,
                     c->positional);
    if (n > 0 && (size_t)n < sizeof known - len) len += (size_t)n;
  }
  const char *next = *at + 1 < argc ? argv[*at + 1] : "-";
  char both[NAME_SHOWN_MAX];
  (void)snprintf(both, sizeof both, "%s %s", word, next);
  if (len && next[0] != '-' && nearest_command(both)) {
    (void)unknown_command(both);
    return NULL;
  }
  if (len) {
    (void)wrong(NULL, "`moongate %s` needs a further word: %s", word, known);
    return NULL;
  }
  (void)unknown_command(word);
  return NULL;
}

/* The texts of all commands that begin with this word, when it is the first one of some. */
static bool print_group_help(const char *word) {
  unsigned n = 0;
  commands_each(c) {
    if (!second_word(c, word)) continue;
    if (n++) (void)fputc('\n', stdout);
    options_put_command_help(stdout, c);
  }
  return n > 0;
}

static enum options_result print_help(int argc, char **argv, int at) {
  while (at < argc && is_help_flag(argv[at]))
    at++;
  if (at >= argc) {
    options_put_help(stdout);
    return OPTIONS_DONE;
  }
  if (at + 1 == argc && print_group_help(argv[at])) return OPTIONS_DONE;
  const struct command_spec *c = parse_command(argc, argv, &at);
  if (!c) return OPTIONS_WRONG;
  if (at < argc) return wrong(NULL, "`moongate help` takes one command: \"%s\" is left over", argv[at]);
  options_put_command_help(stdout, c);
  return OPTIONS_DONE;
}

static enum options_result print_completion(const struct command_spec *c, const char *shell) {
  if (!shell) return wrong(c, "name the shell: bash, zsh or fish");
  if (!options_put_completion(stdout, shell))
    return wrong(c, "no completion for \"%s\": bash, zsh or fish", shell);
  return OPTIONS_DONE;
}

static void set_defaults(struct options *o) {
  memset(o, 0, sizeof *o);
  struct settings_overrides *s = &o->overrides;
  s->port = -1;
  s->max_retries = s->health_interval_ms = s->session_timeout_ms = s->workers = -1;
  o->sim = (struct sim_options){
      .host = "127.0.0.1",
      .port = -1,
      .name = "sim",
      .model = "sim-model",
      .tokens = 24,
      .status = 500,
      .res_key = true,
      .seed = 1,
  };
  o->simulate.seed = 1;
  o->verify = (struct verify_options){.host = "127.0.0.1", .port = 3000};
  o->token.duration_s = 86400;
}

/* What a command cannot do without. */
static enum options_result check_needed(const struct options *o, const struct command_spec *c) {
  const struct simulate_options *s = &o->simulate;
  if (s->rate > 0 && s->clients) return wrong(c, "--rate and --clients exclude each other");
  if (s->scenario && s->providers) return wrong(c, "--scenario names the providers: leave out --providers");
  if (c->command == COMMAND_SIM_PROVIDER && o->sim.port < 0) return wrong(c, "--port N is required");
  if (!c->positional[0] || c->positional[0] == '[') return OPTIONS_GO;
  const char *const *given = (const char *const *)(const void *)((const char *)o + c->offset);
  return *given ? OPTIONS_GO : wrong(c, "`moongate %s` needs %s", c->name, c->positional);
}

enum options_result options_parse(struct options *out, int argc, char **argv) {
  set_defaults(out);
  out->argv = argv;
  int at = 1;
  if (argc < 2 || is_help_flag(argv[1])) return print_help(argc, argv, at);
  if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    options_put_version(stdout);
    return OPTIONS_DONE;
  }
  if (argv[1][0] == '-') return wrong(NULL, "a command comes first, then its flags: \"%s\" is none", argv[1]);
  if (strcmp(argv[1], "help") == 0) return print_help(argc, argv, at + 1);
  if (argc == 3 && is_help_flag(argv[2]) && print_group_help(argv[1])) return OPTIONS_DONE;

  const struct command_spec *c = parse_command(argc, argv, &at);
  if (!c) return OPTIONS_WRONG;
  out->command = c->command;
  enum options_result result = parse_arguments(out, c, argc, argv, at);
  if (result != OPTIONS_GO) return result;
  if (c->prints == PRINTS_VERSION) {
    options_put_version(stdout);
    return OPTIONS_DONE;
  }
  if (c->prints == PRINTS_COMPLETION) return print_completion(c, out->topic);
  return check_needed(out, c);
}
