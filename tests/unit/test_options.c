#include "check.h"

#include "daemon/options.h"

#include <stdlib.h>
#include <unistd.h>

#define ARGS_MAX 300

static struct options o;
static char printed[32768]; /* standard output and error of the last parse */

/* Parses the words of `line` (separated by blanks) behind the program's name. */
static enum options_result parse(const char *line) {
  static char words[16384];
  char *argv[ARGS_MAX + 1] = {"moongate"};
  int argc = 1;
  (void)snprintf(words, sizeof words, "%s", line);
  for (char *word = strtok(words, " "); word && argc < ARGS_MAX; word = strtok(NULL, " "))
    argv[argc++] = strcmp(word, "''") == 0 ? "" : word;

  FILE *capture = tmpfile();
  (void)fflush(stdout);
  int out = dup(1), err = dup(2);
  (void)dup2(fileno(capture), 1);
  (void)dup2(fileno(capture), 2);
  enum options_result result = options_parse(&o, argc, argv);
  (void)fflush(stdout);
  (void)dup2(out, 1);
  (void)dup2(err, 2);
  (void)close(out);
  (void)close(err);
  rewind(capture);
  size_t n = fread(printed, 1, sizeof printed - 1, capture);
  printed[n] = '\0';
  (void)fclose(capture);
  return result;
}

#define CHECK_WRONG(line, text)                                                                              \
  do {                                                                                                       \
    CHECK_INT(parse(line), OPTIONS_WRONG);                                                                   \
    if (!strstr(printed, text)) printf("# printed: %s\n", printed);                                          \
    CHECK(strstr(printed, text));                                                                            \
  } while (0)

static void run_without_flags(void) {
  CHECK_INT(parse("run"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_RUN);
  CHECK(!o.config && !o.overrides.host && !o.overrides.strategy && !o.overrides.rpc);
  CHECK_INT(o.overrides.port, -1);
  CHECK_INT(o.overrides.max_retries, -1);
  CHECK_INT(o.overrides.health_interval_ms, -1);
  CHECK_INT(o.overrides.session_timeout_ms, -1);
  CHECK_INT(o.overrides.workers, -1);
  CHECK_INT(o.overrides.n_providers, 0);
  CHECK_STR(printed, strlen(printed), "");
}

static void run_with_every_flag(void) {
  CHECK_INT(parse("run --host ::1 --port=0 my.lua --strategy s.lua --provider http://a --provider=http://b "
                  "--max-retries 0 --health-check-interval 500 --session-timeout 1000 --rpc http://node "
                  "--workers 2 --log-level debug --log-format json"),
            OPTIONS_GO);
  const struct settings_overrides *s = &o.overrides;
  CHECK_STR(o.config, strlen(o.config), "my.lua");
  CHECK_STR(s->host, strlen(s->host), "::1");
  CHECK_INT(s->port, 0);
  CHECK_STR(s->strategy, strlen(s->strategy), "s.lua");
  CHECK_INT(s->n_providers, 2);
  CHECK_STR(s->providers[0], strlen(s->providers[0]), "http://a");
  CHECK_STR(s->providers[1], strlen(s->providers[1]), "http://b");
  CHECK_INT(s->max_retries, 0);
  CHECK_INT(s->health_interval_ms, 500);
  CHECK_INT(s->session_timeout_ms, 1000);
  CHECK_STR(s->rpc, strlen(s->rpc), "http://node");
  CHECK_INT(s->workers, 2);
  CHECK_STR(s->log_level, strlen(s->log_level), "debug");
  CHECK_STR(s->log_format, strlen(s->log_format), "json");
}

static void other_commands(void) {
  CHECK_INT(parse("demo --port 4000"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_DEMO);
  CHECK_INT(o.overrides.port, 4000);
  CHECK_INT(parse("check a.lua"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_CHECK);
  CHECK_STR(o.config, strlen(o.config), "a.lua");
  CHECK_INT(parse("strategy check s.lua"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_STRATEGY_CHECK);
  CHECK_STR(o.file, strlen(o.file), "s.lua");
  CHECK_INT(parse("run -- --odd.lua"), OPTIONS_GO);
  CHECK_STR(o.config, strlen(o.config), "--odd.lua");
}

static void sim_provider(void) {
  CHECK_INT(parse("sim-provider --port 0"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_SIM_PROVIDER);
  CHECK_STR(o.sim.host, strlen(o.sim.host), "127.0.0.1");
  CHECK_STR(o.sim.name, strlen(o.sim.name), "sim");
  CHECK_STR(o.sim.model, strlen(o.sim.model), "sim-model");
  CHECK_INT(o.sim.tokens, 24);
  CHECK_INT(o.sim.status, 500);
  CHECK(o.sim.res_key && !o.sim.api_key && o.sim.error_rate == 0 && o.sim.tokens_per_second == 0);
  (void)setenv("TEST_SIM_KEY", "sk-of-the-simulator", 1);
  CHECK_INT(
      parse("sim-provider --port 9 --host ::1 --name a --model m --tokens 7 --tokens-per-second 1.5 "
            "--latency 20 --error-rate 0.25 --status 429 --retry-after 3 --hang-rate .5 --truncate-rate 1 "
            "--no-res-key --api-key-env TEST_SIM_KEY --seed 9007199254740991"),
      OPTIONS_GO);
  CHECK_INT(o.sim.port, 9);
  CHECK_INT(o.sim.tokens, 7);
  CHECK(o.sim.tokens_per_second == 1.5 && o.sim.error_rate == 0.25 && o.sim.hang_rate == 0.5);
  CHECK(o.sim.truncate_rate == 1 && !o.sim.res_key);
  CHECK_INT(o.sim.latency_ms, 20);
  CHECK_INT(o.sim.status, 429);
  CHECK_INT(o.sim.retry_after_s, 3);
  CHECK_STR(o.sim.api_key, strlen(o.sim.api_key), "sk-of-the-simulator");
  CHECK(o.sim.seed == 9007199254740991u);
}

static void strategy_simulate(void) {
  CHECK_INT(parse("verify some-id --host ::1 --port 81 --json"), OPTIONS_GO);
  CHECK_INT(parse("verify"), OPTIONS_WRONG);
  CHECK_INT(parse("strategy simulate p2c"), OPTIONS_GO);
  CHECK_INT(o.command, COMMAND_STRATEGY_SIMULATE);
  const struct simulate_options *s = &o.simulate;
  CHECK_STR(s->strategy, strlen(s->strategy), "p2c");
  CHECK(!s->other && !s->scenario && !s->is_json && s->seed == 1 && s->rate == 0 && s->duration_s == 0);
  CHECK(!s->providers && !s->requests && !s->clients && !s->workers);
  CHECK_INT(
      parse(
          "strategy simulate a.lua --providers 7 --requests=9 --rate .5 --workers 3 --duration 1.5 --seed 0 "
          "--json --compare b.lua"),
      OPTIONS_GO);
  CHECK_STR(s->other, strlen(s->other), "b.lua");
  CHECK(s->providers == 7 && s->requests == 9 && s->rate == 0.5 && s->workers == 3 && s->duration_s == 1.5);
  CHECK(s->seed == 0 && s->is_json);
  CHECK_INT(parse("strategy simulate p2c --clients 4 --scenario s.lua"), OPTIONS_GO);
  CHECK_INT(s->clients, 4);
  CHECK_STR(s->scenario, strlen(s->scenario), "s.lua");
  CHECK_WRONG("strategy simulate", "needs FILE|PRESET");
  CHECK_WRONG("strategy simulate p2c --rate 1 --clients 2", "--rate and --clients exclude each other");
  CHECK_WRONG("strategy simulate p2c --scenario s.lua --providers 2", "leave out --providers");
  CHECK_WRONG("strategy simulate p2c --rate 0", "--rate needs a number between 0.01 and 1000000, not \"0\"");
  CHECK_WRONG("strategy simulate p2c --providers 257", "whole number between 1 and 256");
  CHECK_WRONG("strategy simulate p2c --json=1", "--json takes no value");
  CHECK_WRONG("strategy check a.lua --json", "unknown flag --json");
}

static void help_is_one_text(void) {
  static char first[sizeof printed];
  CHECK_INT(parse(""), OPTIONS_DONE);
  CHECK(strstr(printed, "sim-provider") && strstr(printed, "Exit codes"));
  CHECK(!strchr(printed, '\033'));
  (void)snprintf(first, sizeof first, "%s", printed);
  static const char *const SAME[] = {"--help", "-h", "help", "help --help"};
  for (size_t i = 0; i < ARRAY_LEN(SAME); i++) {
    CHECK_INT(parse(SAME[i]), OPTIONS_DONE);
    CHECK_STR(printed, strlen(printed), first);
  }
  CHECK_INT(parse("help run"), OPTIONS_DONE);
  CHECK(strstr(printed, "--health-check-interval MS") && strstr(printed, "ZG_PRIVATE_KEY"));
  (void)snprintf(first, sizeof first, "%s", printed);
  static const char *const SAME_RUN[] = {"run --help", "run -h", "run x.lua --port 70000 --help"};
  for (size_t i = 0; i < ARRAY_LEN(SAME_RUN); i++) {
    CHECK_INT(parse(SAME_RUN[i]), OPTIONS_DONE);
    CHECK_STR(printed, strlen(printed), first);
  }
  CHECK_INT(parse("help strategy check"), OPTIONS_DONE);
  CHECK(strstr(printed, "moongate strategy check FILE"));
  static const char *const EACH[] = {"demo",         "check",      "strategy check", "strategy simulate",
                                     "sim-provider", "completion", "version",        "help",
                                     "verify"};
  for (size_t i = 0; i < ARRAY_LEN(EACH); i++) {
    char line[64];
    (void)snprintf(line, sizeof line, "%s --help", EACH[i]);
    CHECK_INT(parse(line), OPTIONS_DONE);
    CHECK(strstr(printed, EACH[i]));
  }
}

static void version_is_printed(void) {
  static const char *const SAME[] = {"version", "--version", "-V"};
  for (size_t i = 0; i < ARRAY_LEN(SAME); i++) {
    CHECK_INT(parse(SAME[i]), OPTIONS_DONE);
    CHECK_STR(printed, strlen(printed), "moongate " MOONGATE_VERSION "\n");
  }
}

static void completion_names_every_flag(void) {
  static const char *const SHELLS[] = {"completion bash", "completion zsh", "completion fish"};
  for (size_t i = 0; i < ARRAY_LEN(SHELLS); i++) {
    CHECK_INT(parse(SHELLS[i]), OPTIONS_DONE);
    CHECK(strstr(printed, "sim-provider") && strstr(printed, "tokens-per-second"));
    CHECK(strstr(printed, "debug info warn error off"));
    CHECK(strstr(printed, "simulate") && strstr(printed, "compare"));
  }
  CHECK_WRONG("completion tcsh", "no completion for \"tcsh\"");
  CHECK_WRONG("completion", "name the shell");
}

static void wrong_commands(void) {
  CHECK_WRONG("rnu", "unknown command \"rnu\"; did you mean \"run\"?");
  CHECK_WRONG("simprovider", "did you mean \"sim-provider\"?");
  CHECK_WRONG("moon.lua", "did you mean \"moongate run moon.lua\"?");
  CHECK_WRONG("quux", "unknown command \"quux\"\n");
  CHECK_WRONG("''", "unknown command \"\"");
  CHECK_WRONG("strategy", "moongate strategy check FILE");
  CHECK_WRONG("strategy chek a", "unknown command \"strategy chek\"; did you mean \"strategy check\"?");
  CHECK_WRONG("strategy quux a", "moongate strategy check FILE, or moongate strategy simulate FILE|PRESET");
  CHECK_INT(parse("help strategy"), OPTIONS_DONE);
  CHECK(strstr(printed, "moongate strategy check FILE") &&
        strstr(printed, "moongate strategy simulate FILE|PRESET"));
  CHECK_INT(parse("strategy --help"), OPTIONS_DONE);
  CHECK(strstr(printed, "moongate strategy simulate FILE|PRESET"));
  CHECK_WRONG("--port 3000", "a command comes first");
  CHECK_WRONG("help nothing", "unknown command \"nothing\"");
  CHECK_WRONG("help run demo", "\"demo\" is left over");
}

static void wrong_flags(void) {
  CHECK_WRONG("run --prot 1", "unknown flag --prot; did you mean --port?");
  CHECK_WRONG("run --health-check-intervall=1", "did you mean --health-check-interval?");
  CHECK_WRONG("run --quux", "unknown flag --quux for `moongate run`\nTry `moongate run --help`.");
  CHECK_WRONG("run -p 1", "flags are long");
  CHECK_WRONG("run --key abc", "a key is never an argument");
  CHECK_WRONG("demo --provider http://a", "unknown flag --provider");
  CHECK_WRONG("check a.lua --tokens 3", "unknown flag --tokens");
}

static void wrong_values(void) {
  CHECK_WRONG("run --port", "--port needs a value: --port N");
  CHECK_WRONG("run --port --host x", "--port needs a value");
  CHECK_WRONG("run --port=", "not empty");
  CHECK_WRONG("run --port 65536", "--port needs a whole number between 0 and 65535, not \"65536\"");
  static const char *const NUMBERS[] = {
      "-1", "1.5", "1e3", "0x10", "+1", "12a", "nan", "99999999999999999999", "--", "1-1"};
  for (size_t i = 0; i < ARRAY_LEN(NUMBERS); i++) {
    char line[64];
    (void)snprintf(line, sizeof line, "run --port=%s", NUMBERS[i]);
    CHECK_WRONG(line, "--port needs a whole number between 0 and 65535");
  }
  CHECK_WRONG("run --workers 257", "between 0 and 256");
  CHECK_WRONG("run --health-check-interval 1", "between 10 and 86400000");
  CHECK_WRONG("run --log-level loud", "--log-level is one of: debug info warn error off; not \"loud\"");
  CHECK_WRONG("run --log-level in", "not \"in\"");
  CHECK_WRONG("sim-provider --port 1 --error-rate 1.1", "--error-rate needs a number between 0 and 1");
  CHECK_WRONG("sim-provider --port 1 --error-rate .", "--error-rate needs a number");
  CHECK_WRONG("sim-provider --port 1 --no-res-key=yes", "--no-res-key takes no value");
  CHECK_WRONG("sim-provider --port 1 --api-key-env TEST_NOT_SET",
              "environment variable TEST_NOT_SET is not set");
}

static void wrong_arguments(void) {
  CHECK_WRONG("run a.lua b.lua", "\"b.lua\" is left over");
  CHECK_WRONG("demo a.lua", "takes no argument \"a.lua\"");
  CHECK_WRONG("check", "`moongate check` needs CONFIG.lua");
  CHECK_WRONG("strategy check", "needs FILE");
  CHECK_WRONG("sim-provider", "--port N is required");
  CHECK_WRONG("run ''", "must not be empty");
}

static void too_many_providers(void) {
  static char line[8192];
  size_t n = (size_t)snprintf(line, sizeof line, "run");
  for (int i = 0; i < 256; i++)
    n += (size_t)snprintf(line + n, sizeof line - n, " --provider=http://a");
  CHECK_INT(parse(line), OPTIONS_GO);
  CHECK_INT(o.overrides.n_providers, 256);
  (void)snprintf(line + n, sizeof line - n, " --provider=http://a");
  CHECK_WRONG(line, "--provider can be given 256 times at most");
}

int main(void) {
  RUN(run_without_flags);
  RUN(run_with_every_flag);
  RUN(other_commands);
  RUN(sim_provider);
  RUN(strategy_simulate);
  RUN(help_is_one_text);
  RUN(version_is_printed);
  RUN(completion_names_every_flag);
  RUN(wrong_commands);
  RUN(wrong_flags);
  RUN(wrong_values);
  RUN(wrong_arguments);
  RUN(too_many_providers);
  return CHECK_END();
}
