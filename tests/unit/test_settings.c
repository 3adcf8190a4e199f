#include "check.h"

#include "base/redact.h"
#include "script/settings.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ADDRESS  "0x1234567890123456789012345678901234567890"
#define ADDRESS2 "0xabcdefabcdef0000000000000000000000000001"
#define KEY      "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"
#define ONE      "providers = { 'http://127.0.0.1:8000/v1' }"

static char dir[] = "/tmp/moongate-settings-XXXXXX";
static struct settings_report report;
static struct registry *registry;
static struct plan *plan;

static void forget(void) {
  plan_unref(&plan);
  settings_report_release(&report);
  registry_free(registry);
  registry = NULL;
}

static struct plan *load_with(const char *path, struct span text, const struct settings_overrides *o) {
  if (registry) forget();
  registry = registry_new();
  settings_report_init(&report);
  plan = settings_load(&report, path, text, o, registry);
  return plan;
}

static struct plan *load(const char *text) {
  return load_with("c.lua", span_str(text), NULL);
}

static bool reports(struct buf *list, const char *text) {
  bool found = strstr(buf_cstr(list), text) != NULL;
  if (!found) printf("# looking for: %s\n# among:\n# %s\n", text, buf_cstr(list));
  return found;
}

static const char *put_file(const char *name, const char *text, mode_t mode) {
  static char path[256];
  (void)snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  (void)fwrite(text, 1, strlen(text), f);
  (void)fclose(f);
  (void)chmod(path, mode);
  return path;
}

static struct settings_overrides no_overrides(void) {
  return (struct settings_overrides){
      .port = -1, .max_retries = -1, .health_interval_ms = -1, .session_timeout_ms = -1, .workers = -1};
}

/* ---- what a file can say ---- */

static void defaults(void) {
  CHECK(load("return { " ONE " }"));
  CHECK_INT(report.n_problems, 0);
  const struct settings *s = &plan->settings;
  CHECK_STR(s->host, strlen(s->host), "0.0.0.0");
  CHECK_INT(s->port, 3000);
  CHECK_INT(s->workers, 0);
  CHECK_INT(s->max_retries, 3);
  CHECK_INT(s->health_interval_ms, 30000);
  CHECK_INT(s->health_timeout_ms, 5000);
  CHECK_INT(s->session_timeout_ms, 1800000);
  CHECK_INT(s->max_sessions, 1000000);
  CHECK_INT(s->max_body_bytes, 33554432);
  CHECK_INT(s->max_buffered_bytes, 1 << 30);
  CHECK_INT(s->body_rate_bytes, 240);
  CHECK_INT(s->body_rate_window_ms, 10000);
  CHECK_INT(s->timeouts.connect, 5000);
  CHECK_INT(s->timeouts.first_byte, 120000);
  CHECK_INT(s->timeouts.idle, 60000);
  CHECK_INT(s->timeouts.total, 600000);
  CHECK_INT(s->timeouts.client_header, 10000);
  CHECK_INT(s->timeouts.client_idle, 75000);
  CHECK_INT(s->timeouts.drain, 30000);
  CHECK(!s->strict_models && !s->panic_refuse && s->reload_watch && s->reload_canary);
  CHECK(s->retry_budget == 0.2);
  CHECK_INT(s->retry_budget_min, 3);
  CHECK(!s->admin_token && !s->tls_ca && !s->client_keys[0] && !s->cors_origins[0] && !s->forward_headers[0]);
  CHECK_INT(s->log_level, LOG_INFO);
  CHECK_INT(s->log_format, LOG_TEXT);
  CHECK_STR(s->upstream, strlen(s->upstream), "native");
  CHECK(memcmp(&s->health, &HEALTH_RULES_DEFAULT, sizeof s->health) == 0);
  CHECK_STR(plan->strategy_name, strlen(plan->strategy_name), "round-robin");
  CHECK(!plan->strategy_path && plan->strategy_source.len > 0);
  CHECK_STR(plan->strategy_options, strlen(plan->strategy_options), "return {}");
  CHECK(!plan->config_path);
  CHECK_INT(plan->n_entries, 1);
  const struct plan_entry *e = &plan->entries[0];
  CHECK_STR(e->provider->id, strlen(e->provider->id), "127.0.0.1:8000");
  CHECK(e->provider->kind == PROVIDER_DIRECT && e->has_endpoint);
  CHECK(!e->model && !e->api_key && !e->health_path && !e->tags[0] && e->weight == 1 && e->priority == 50);
  CHECK_INT(report.n_warnings, 1);
  CHECK(reports(&report.warnings, "whoever reaches 0.0.0.0:3000 may spend on the providers"));
}

static const char FULL[] =
    "local key = env('TEST_SETTINGS_KEY')\n"
    "return {\n"
    "  host = '[::1]', port = 0, workers = 2, strategy = 'mine.lua', maxRetries = 1,\n"
    "  strategyOptions = { depth = 2, [3] = 'a\"\\\\\\n\\0001', on = true, list = { 0.1, -1e300, math.huge } "
    "},\n"
    "  healthCheckInterval = 10, healthCheckTimeout = 20, sessionTimeout = 30, maxSessions = 40,\n"
    "  maxBodyBytes = 50, maxBufferedBytes = 60, minBodyRate = 70,\n"
    "  forwardHeaders = { 'X-Tenant', 'x-tenant', 'X_Other' },\n"
    "  timeouts = { connect = 1, firstByte = 2, idle = 3, total = 4, clientHeader = 5, clientIdle = 6, drain "
    "= 7 },\n"
    "  providers = {\n"
    "    '" ADDRESS "',\n"
    "    { address = '" ADDRESS2 "', endpoint = 'https://chain.example/v1/', weight = 2.5, priority = 10 },\n"
    "    { id = 'local', endpoint = 'http://LocalHost:8000/v1', model = 'llama-3', apiKey = key, weight = "
    "0,\n"
    "      priority = -1, healthPath = '/health?x=1', tags = { zone = 'b', gpu = 2, fast = true } },\n"
    "    'http://127.0.0.1:9000', 'http://127.0.0.1:9000', { endpoint = 'https://[::1]' },\n"
    "  },\n"
    "  models = { ['gpt-4o'] = { 'local', '0xabcdefABCDEF0000000000000000000000000001' }, b = { "
    "'127.0.0.1:9000-2' } },\n"
    "  strictModels = true, panic = 'refuse', retryBudget = { ratio = 0.5, min = 0 },\n"
    "  health = { fall = 1, rise = 2, ejectAfter = 0, ejectBase = 3, ejectMax = 4, rateLimitCooldown = 5, "
    "accountCooldown = 6 },\n"
    "  clientKeys = { 'client-key-number-one', 'client-key-number-two' }, adminToken = "
    "'admin-token-of-test',\n"
    "  cors = { origins = { 'https://app.example:8443', '*' } }, tls = { ca = 'ca.pem' },\n"
    "  reload = { watch = false, canary = false }, guard = 'fast', logLevel = 'debug', logFormat = 'json',\n"
    "  upstream = 'curl', key = env('TEST_SETTINGS_UNSET'), keyFile = 'wallet.key',\n"
    "  rpc = { 'https://node.example/v2/a-key-of-a-node', 'http://127.0.0.1:8545' }, tokenLifetime = "
    "3600000,\n"
    "  contracts = { ledger = '" ADDRESS "', inference = nil },\n"
    "  autoFunding = { ledgerMin = 3, perProvider = '1.5', max = 12.25 },\n"
    "}\n";

static void every_option(void) {
  (void)setenv("TEST_SETTINGS_KEY", "sk-test-settings-key", 1);
  (void)unsetenv("TEST_SETTINGS_UNSET");
  (void)put_file("mine.lua", "return { abi = 1, select = function() return 1 end }\n", 0644);
  (void)put_file("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", 0644);
  (void)put_file("wallet.key", "0x01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d\n", 0600);
  const char *path = put_file("full.lua", FULL, 0644);
  CHECK(load_with(path, SPAN_NONE, NULL) || !reports(&report.problems, "nothing"));
  CHECK_INT(report.n_problems, 0);
  CHECK_INT(report.n_warnings, 0);
  CHECK_STR(plan->config_path, strlen(plan->config_path), path);
  const struct settings *s = &plan->settings;
  CHECK_STR(s->host, strlen(s->host), "::1");
  CHECK_INT(s->port, 0);
  CHECK_INT(s->workers, 2);
  CHECK_INT(s->max_retries, 1);
  CHECK_INT(s->health_interval_ms, 10);
  CHECK_INT(s->health_timeout_ms, 20);
  CHECK_INT(s->session_timeout_ms, 30);
  CHECK_INT(s->max_sessions, 40);
  CHECK_INT(s->max_body_bytes, 50);
  CHECK_INT(s->max_buffered_bytes, 60);
  CHECK_INT(s->body_rate_bytes, 70);
  CHECK_STR(s->forward_headers[0], strlen(s->forward_headers[0]), "x-tenant");
  CHECK_STR(s->forward_headers[1], strlen(s->forward_headers[1]), "x_other");
  CHECK(!s->forward_headers[2]);
  const struct plan_timeouts *t = &s->timeouts;
  CHECK(t->connect == 1 && t->first_byte == 2 && t->idle == 3 && t->total == 4);
  CHECK(t->client_header == 5 && t->client_idle == 6 && t->drain == 7);
  CHECK(s->strict_models && s->panic_refuse && !s->reload_watch && !s->reload_canary);
  CHECK(s->retry_budget == 0.5 && s->retry_budget_min == 0);
  const struct health_rules *h = &s->health;
  CHECK(h->fall == 1 && h->rise == 2 && h->eject_after == 0 && h->eject_base_ms == 3 && h->eject_max_ms == 4);
  CHECK(h->rate_limit_ms == 5 && h->account_ms == 6 &&
        h->cooldown_max_ms == HEALTH_RULES_DEFAULT.cooldown_max_ms);
  CHECK_STR(s->client_keys[1], strlen(s->client_keys[1]), "client-key-number-two");
  CHECK(!s->client_keys[2]);
  CHECK_STR(s->admin_token, strlen(s->admin_token), "admin-token-of-test");
  CHECK_STR(s->cors_origins[0], strlen(s->cors_origins[0]), "https://app.example:8443");
  CHECK_STR(s->cors_origins[1], strlen(s->cors_origins[1]), "*");
  char expected[256];
  (void)snprintf(expected, sizeof expected, "%s/ca.pem", dir);
  CHECK_STR(s->tls_ca, strlen(s->tls_ca), expected);
  CHECK_INT(s->log_level, LOG_DEBUG);
  CHECK_INT(s->log_format, LOG_JSON);
  CHECK_STR(s->upstream, strlen(s->upstream), "curl");
  (void)snprintf(expected, sizeof expected, "%s/mine.lua", dir);
  CHECK_STR(plan->strategy_path, strlen(plan->strategy_path), expected);
  CHECK_STR(plan->strategy_name, strlen(plan->strategy_name), "mine.lua");
  CHECK(span_starts(plan->strategy_source, SPAN("return { abi = 1")));
  CHECK_STR(plan->strategy_options, strlen(plan->strategy_options),
            "return {[3]=\"a\\034\\092\\010\\0001\",[\"depth\"]=2,[\"list\"]={[1]=0.10000000000000001,[2]="
            "-1.0000000000000001e+300,[3]=1/0},[\"on\"]=true}");
}

static void every_provider(void) {
  CHECK(plan && plan->n_entries == 6);
  const struct plan_entry *e = plan->entries;
  CHECK_STR(e[0].provider->id, strlen(e[0].provider->id), ADDRESS);
  CHECK(e[0].provider->kind == PROVIDER_ONCHAIN && !e[0].has_endpoint);
  CHECK(e[0].provider->is_initialised); /* a load changes nothing that may be serving */
  plan_init_providers(plan);
  CHECK(!e[0].provider->is_initialised);
  CHECK_STR(e[0].provider->reason, strlen(e[0].provider->reason),
            "Failed to initialize provider " ADDRESS ": its service has not been read from the chain");
  CHECK_STR(e[1].provider->id, strlen(e[1].provider->id), ADDRESS2);
  CHECK(e[1].provider->kind == PROVIDER_ONCHAIN && e[1].has_endpoint && e[1].provider->is_initialised);
  CHECK(e[1].weight == 2.5 && e[1].priority == 10 && e[1].endpoint.is_tls && e[1].endpoint.port == 443);
  CHECK_STR(e[1].endpoint.text, strlen(e[1].endpoint.text), "https://chain.example/v1");
  CHECK_STR(e[2].provider->id, strlen(e[2].provider->id), "local");
  CHECK_STR(e[2].model, strlen(e[2].model), "llama-3");
  CHECK_STR(e[2].api_key, strlen(e[2].api_key), "sk-test-settings-key");
  CHECK_STR(e[2].health_path, strlen(e[2].health_path), "/health?x=1");
  CHECK_STR(e[2].endpoint.host, strlen(e[2].endpoint.host), "localhost");
  CHECK(e[2].weight == 0 && e[2].priority == -1);
  CHECK_STR(e[2].tags[0], strlen(e[2].tags[0]), "fast=true");
  CHECK_STR(e[2].tags[1], strlen(e[2].tags[1]), "gpu=2");
  CHECK_STR(e[2].tags[2], strlen(e[2].tags[2]), "zone=b");
  CHECK(!e[2].tags[3]);
  CHECK_STR(e[3].provider->id, strlen(e[3].provider->id), "127.0.0.1:9000");
  CHECK_STR(e[4].provider->id, strlen(e[4].provider->id), "127.0.0.1:9000-2");
  CHECK_STR(e[5].provider->id, strlen(e[5].provider->id), "::1:443");
  struct slot_set slots;
  CHECK(plan_who_serves(plan, &slots, SPAN("gpt-4o")));
  CHECK(slots.w[0] == ((1u << 1) | (1u << 2)));
  CHECK(plan_who_serves(plan, &slots, SPAN("b")));
  CHECK(slots.w[0] == 1u << 4);
  CHECK(!plan_who_serves(plan, &slots, SPAN("c")));
}

static void secrets_are_known(void) {
  static const char *const SECRETS[] = {"sk-test-settings-key", "client-key-number-one",
                                        "client-key-number-two", "admin-token-of-test",
                                        "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"};
  for (size_t i = 0; i < ARRAY_LEN(SECRETS); i++)
    CHECK(redact_finds(span_str(SECRETS[i])));
}

static void texts_for_numbers_and_booleans(void) {
  (void)setenv("TEST_SETTINGS_PORT", "8123", 1);
  CHECK(load("return { port = env('TEST_SETTINGS_PORT'), workers = env('TEST_SETTINGS_UNSET', '2'),\n"
             "  strictModels = env('TEST_SETTINGS_UNSET', 'true'), " ONE " }"));
  CHECK_INT(plan->settings.port, 8123);
  CHECK_INT(plan->settings.workers, 2);
  CHECK(plan->settings.strict_models);
}

static void lua_of_a_file(void) {
  CHECK(load("\xef\xbb\xbf#!/usr/bin/env moongate\n"
             "local list = {}\n"
             "for i = 1, 3 do table.insert(list, ('http://10.0.0.%d:80'):format(i)) end\n"
             "local ok = pcall(error, 'x')\n"
             "return { providers = list, port = ok and 1 or math.max(2, select('#', 1, 2, 3)) }"));
  CHECK_INT(plan->n_entries, 3);
  CHECK_INT(plan->settings.port, 3);
  CHECK(load("providers = { 'http://a' } x = 1 return { providers = providers, port = x }"));
}

/* ---- problems ---- */

/* Each text in `expected` must be reported; `n` is the number of all problems. */
static const struct {
  const char *text;
  unsigned n;
  const char *expected[4];
} PROBLEMS[] = {
    {"return {\n maxRetrys = 3,\n " ONE " }",
     1,
     {"c.lua:2: unknown option \"maxRetrys\"; did you mean \"maxRetries\"?"}},
    {"return {\n max_retries = 3, MaxRetires = 1, xyzzy = 2, " ONE " }",
     3,
     {"c.lua:2: unknown option \"max_retries\"; did you mean \"maxRetries\"?",
      "unknown option \"MaxRetires\"; did you mean \"maxRetries\"?", "unknown option \"xyzzy\"\n"}},
    {"return {\n firstByte = 3, " ONE " }",
     1,
     {"c.lua:2: unknown option \"firstByte\": it belongs into timeouts = { firstByte = … }"}},
    {"return { 'x', " ONE " }", 1, {"c.lua:1: a value without a name: options are written as name = value"}},
    {"return { timeouts = { connect = 0,\n frstByte = 1, idle = 'x', total = 1.5 }, " ONE " }",
     4,
     {"c.lua:1: timeouts.connect must be a whole number of ms between 1 and 86400000, not 0",
      "c.lua:2: unknown option \"frstByte\" in timeouts; did you mean \"firstByte\"?",
      "c.lua:2: timeouts.idle must be a whole number of ms",
      "timeouts.total must be a whole number of ms between 1 and 86400000, not 1.5"}},
    {"return { timeouts = 5, " ONE " }",
     1,
     {"c.lua:1: timeouts must be a table such as { connect = 5000 }, not 5"}},
    {"return {\n port = 65536,\n workers = -1,\n maxRetries = {},\n" ONE " }",
     3,
     {"c.lua:2: port must be a whole number between 0 and 65535, not 65536", "c.lua:3: workers must be",
      "c.lua:4: maxRetries must be a whole number between 0 and 255, not a table"}},
    {"return { port = 0/0, workers = 1/0, maxSessions = 0, maxBodyBytes = -1, " ONE " }",
     4,
     {"port must be", "workers must be", "maxSessions must be",
      "maxBodyBytes must be a whole number of bytes"}},
    {"return { host = 'http://x', strictModels = 1, " ONE " }",
     2,
     {"host must be a host name or an IP address, without scheme",
      "strictModels must be true or false, not 1"}},
    {"return { maxBodyBytes = 2000,\n maxBufferedBytes = 1000, " ONE " }",
     1,
     {"c.lua:2: maxBodyBytes (2000) must not be above maxBufferedBytes (1000)"}},
    {"return { health = { ejectBase = 10,\n ejectMax = 5, fall = 0 }, " ONE " }",
     2,
     {"c.lua:2: health.ejectMax (5) must not be below ejectBase (10)", "health.fall must be"}},
    {"return { retryBudget = { ratio = 20 }, panic = 'ofer', logLevel = 'inof', " ONE " }",
     3,
     {"retryBudget.ratio must be a number between 0 and 1, not 20 (0.2 is", "did you mean \"offer\"?",
      "did you mean \"info\"?"}},
    {"return { cors = true, " ONE " }", 1, {"cors must say who may ask"}},
    {"return { cors = { origins = { 'https://a/b', 7 } }, " ONE " }",
     2,
     {"cors.origins[1] must be \"*\" or an origin", "cors.origins[2]"}},
    {"return { forwardHeaders = { 'Authorization', 'cookie',\n 'X-Api-Key', 'Host' }, " ONE " }",
     4,
     {"c.lua:1: forwardHeaders[1] cannot name \"Authorization\": it carries", "[2]",
      "c.lua:2: forwardHeaders[3]", "[4] cannot name \"Host\": it belongs to one connection"}},
    {"return { forwardHeaders = { 'Transfer-Encoding', 'a b', '', 5 }, " ONE " }",
     4,
     {"[1] cannot name", "[2] must be the name of a header", "[3]", "[4]"}},
    {"return { forwardHeaders = 'X-A', " ONE " }",
     1,
     {"forwardHeaders must be a list such as { \"X-Tenant\" }, not \"X-A\""}},
    {"return { forwardHeaders = { a = 'X-A' }, " ONE " }",
     1,
     {"forwardHeaders is a list such as { \"X-Tenant\" }: it has no place for the name \"a\""}},

    {"return {}", 1, {"c.lua:1: no providers: write providers = {"}},
    {"return {\n providers = {} }", 1, {"c.lua:2: providers is empty: name at least one"}},
    {"return { providers = 'http://a' }", 1, {"providers must be a list such as"}},
    {"return { providers = { endpoint = 'http://a' } }",
     1,
     {"providers must be a list of providers: put another pair of { }"}},
    {"return { providers = {\n '0x1234',\n '127.0.0.1:80',\n 'ftp://a',\n '' } }",
     4,
     {"c.lua:2: providers[1] is not an address: 0x and 40 hex digits are needed, \"0x1234\" has 4",
      "c.lua:3: providers[2] must begin with \"http://\" or \"https://\", \"127.0.0.1:80\" does not; did you "
      "mean \"http://127.0.0.1:80\"?",
      "c.lua:4: providers[3] cannot be \"ftp://a\": an endpoint is an http:// or https:// URL",
      "c.lua:5: providers[4] must be an address"}},
    {"return { providers = { 'http://user:password@a', 'http://a?x', 'http://' } }",
     3,
     {"providers[1] cannot be this URL: an endpoint has no user", "has no query", "providers[3]"}},
    {"return { providers = {\n { id = 'a', endpoint = 'http://a' },\n { endpoint = 'http://b',\n id = 'a' } "
     "} }",
     1,
     {"c.lua:4: providers[2].id \"a\" is already used by providers[1] in line 2"}},
    {"return { providers = { '" ADDRESS2
     "',\n { address = '0xABCDEFABCDEF0000000000000000000000000001' } } }",
     1,
     {"c.lua:2: providers[2].address \"0xABCDEFABCDEF0000000000000000000000000001\" is already used by "
      "providers[1] in line 1"}},
    {"return { providers = { { id = 'a', address = '" ADDRESS "' }, { id = '" ADDRESS2
     "', endpoint = 'http://a' } } }",
     2,
     {"providers[1].id cannot be set beside address", "providers[2].id is an address: write address = "}},
    {"return { providers = { {\n weight = -1 }, { url = 'http://a' }, {\n endpoint = 'http://a', weight = "
     "0/0, id = 'a b', priority = 'x' } } }",
     7,
     {"c.lua:1: providers[1] needs an endpoint (direct) or an address (on chain)",
      "c.lua:2: providers[1].weight must be a number between 0 and 1000000, not -1",
      "c.lua:2: unknown option \"url\" in providers[2]; did you mean \"endpoint\"?",
      "c.lua:3: providers[3].id must be at most 64 letters"}},
    {"return { providers = { { endpoint = 'http://a', api_key = 'x', healthPath = 'models', model = '' } } }",
     3,
     {"unknown option \"api_key\" in providers[1]; did you mean \"apiKey\"?",
      "providers[1].healthPath must be a path that begins with \"/\"",
      "providers[1].model must not be empty"}},
    {"return { providers = { { endpoint = 'http://a', tags = { 'x', ['a b'] = 1, c = {} } } } }",
     3,
     {"providers[1].tags: a tag is written as name = value", "providers[1].tags.c must be a text"}},
    {"return { providers = { nil, 'http://a', false } }",
     2,
     {"providers[1] is nil", "providers[3] must be an address, a URL, or a table"}},

    {"return {\n providers = {\n { id = 'a', endpoint = 'http://a', apiKey = env('TEST_SETTINGS_UNSET') } } "
     "}",
     1,
     {"c.lua:3: providers[1].apiKey: environment variable TEST_SETTINGS_UNSET is not set; set it, or give a "
      "default"}},
    {"local k = env('TEST_SETTINGS_UNSET')\nreturn {\n adminToken = k, clientKeys = {\n "
     "env('TEST_SETTINGS_UNSET') }, " ONE " }",
     2,
     {"c.lua:3: adminToken: environment variable TEST_SETTINGS_UNSET is not set",
      "c.lua:4: clientKeys[1]: environment variable TEST_SETTINGS_UNSET is not set"}},
    {"local x = 1\nlocal u = env('TEST_SETTINGS_UNSET') .. '/v1'",
     1,
     {"c.lua:2: attempt to concatenate a nil value (environment variable TEST_SETTINGS_UNSET is not set)"}},
    {"return { adminToken = env(5) }",
     1,
     {"c.lua:1: env() wants the name of an environment variable in quotes, not 5"}},

    {"return { models = { ['m'] = { 'locl' },\n [1] = {}, n = 'x', o = {} }, providers = { { id = 'local', "
     "endpoint = 'http://a' } } }",
     4,
     {"c.lua:1: models.m[1] names \"locl\", which is no provider of this configuration; did you mean "
      "\"local\"?",
      "c.lua:2: models: the name of a model", "c.lua:2: models.n must be a list", "models.o is empty"}},

    {"return {\n strategy = 'round-robbin', " ONE " }",
     1,
     {"c.lua:2: strategy \"round-robbin\" is no preset; did you mean \"round-robin\"? (presets: "}},
    {"return {\n strategy = './none.lua', " ONE " }",
     1,
     {"c.lua:2: strategy \"./none.lua\": No such file or directory"}},
    {"return { strategy = 5, " ONE " }",
     1,
     {"strategy must be the name of a preset or the path of a .lua file, not 5"}},
    {"local t = {} t.t = t\nreturn { strategyOptions = { a = math.floor,\n b = t, c = 0/0 }, " ONE " }",
     3,
     {"c.lua:2: strategyOptions.a must be plain data (numbers, texts, true, false, tables), not a function",
      "c.lua:1: strategyOptions.b.t contains itself",
      "strategyOptions.c must be plain data (numbers, texts, true, false, tables), not NaN"}},
    {"return { strategyOptions = { a = ('x'):rep(70000) }, " ONE " }", 1, {"strategyOptions is too large"}},

    {"return { clientKeys = { 'Bearer abcdefghij', 'a b', '', 5 }, " ONE " }",
     4,
     {"clientKeys[1] is the bare key: leave out \"Bearer \"", "clientKeys[2] contains a blank",
      "clientKeys[3] must not be empty", "clientKeys[4] must be a text in quotes, not a number"}},
    {"return { key = 'abc', rpc = 'ws://x', contracts = { ledger = 'x', legder = 1 }, " ONE " }",
     4,
     {"key must be a private key: 64 hex digits", "rpc must be an http:// or https:// URL",
      "contracts.ledger must be an address", "did you mean \"ledger\"?"}},
    {"return { keyFile = '/nonexistent/key', tls = { ca = '/dev/null' }, autoFunding = 5, " ONE " }",
     3,
     {"keyFile \"/nonexistent/key\": No such file", "tls.ca \"/dev/null\": not a regular file",
      "autoFunding must be true or false"}},

    {"return {\n host = localhost,\n port = os.getenv('X') }",
     2,
     {"c.lua:2: localhost is not defined; a text needs quotes",
      "c.lua:3: os is not available in a configuration file"}},
    {"io.open('/etc/passwd')", 1, {"c.lua:1: io is not available"}},
    {"return { port = prot, workers = wrkers, " ONE " }",
     2,
     {"prot is not defined", "wrkers is not defined"}},
    {"return {\n port = 1\n host = 'x' }", 1, {"c.lua:3: '}' expected (to close '{' at line 1) near 'host'"}},
    {"return { port = 1", 1, {"c.lua:1: '}' expected at the end of the file"}},
    {"return { 'a' = 'sk-secret-in-a-syntax-error' }", 1, {"c.lua:1: "}},
    {"return 5", 1, {"c.lua:1: the file must return a table of options, return { … }, not 5"}},
    {"", 1, {"c.lua:1: the file must return a table of options"}},
    {"error('no luck')", 1, {"c.lua:1: no luck"}},
    {"local x\n\nx.y = 1", 1, {"c.lua:3: attempt to index local 'x' (a nil value)"}},
    {"error({})", 1, {"c.lua: the file raised an error that is a table, not a text"}},
    {"while true do end", 1, {"c.lua:1: it does not come to an end"}},
    {"while true do pcall(function() while true do end end) end", 1, {"it does not come to an end"}},
    {"local function f() return pcall(f) end f() local x = 'x' while true do x = x .. x end",
     1,
     {"c.lua: it needs too much memory: more than 64 MiB"}},
    {"return { host = ('a'):rep(40):gsub(('a?'):rep(40) .. ('a'):rep(40), 'b'), " ONE " }",
     1,
     {"c.lua:1: the pattern ", " may take too long on a text of 40 bytes"}},
    {"local x = ('x'):rep(1e9)", 1, {"c.lua:1: the repeated text would be too long"}},
    {"table.sort({ 1, 'a' })", 1, {"c.lua:1: attempt to compare string with number"}},
    {"error((select(2, pcall(error, 'inner', 0))), 0)", 1, {"inner"}},
    {"local x = ('x'):rep(2^20):rep(1) while true do local y = x .. 'y' .. 'z' end",
     1,
     {"c.lua:1: it does not come to an end (stopped after 2 seconds)"}},
    {"local t = {} for i = 1, 1e9 do t[i] = {} end", 1, {"c.lua:"}},
    {"local function f() return 1 + f() end f()", 1, {"c.lua: stack overflow"}},
    {"return { port = 5LL, " ONE " }",
     1,
     {"port must be a whole number between 0 and 65535, not a number with a suffix"}},
    {"\x1bLJ\x02", 1, {"c.lua: compiled Lua is not accepted: write the file as text"}},
    {"return { host = 'a\\nb', ['x\\ny'] = 1, " ONE " }",
     2,
     {"host must not contain control characters", "unknown option \"x\\x0ay\""}},
};

static void problems_are_named(void) {
  (void)unsetenv("TEST_SETTINGS_UNSET");
  for (size_t i = 0; i < ARRAY_LEN(PROBLEMS); i++) {
    bool is_loaded = load(PROBLEMS[i].text) != NULL;
    bool is_right = !is_loaded && report.n_problems == PROBLEMS[i].n;
    for (size_t k = 0; k < ARRAY_LEN(PROBLEMS[i].expected) && PROBLEMS[i].expected[k]; k++)
      is_right = reports(&report.problems, PROBLEMS[i].expected[k]) && is_right;
    if (!is_right)
      printf("# case %zu: %s\n# %u problems:\n# %s\n", i, PROBLEMS[i].text, report.n_problems,
             buf_cstr(&report.problems));
    CHECK(is_right);
  }
}

static void no_secret_in_a_problem(void) {
  CHECK(!load("return { { 'a' 'sk-secret-in-a-syntax-error' 5 }"));
  CHECK(!strstr(buf_cstr(&report.problems), "sk-secret"));
  CHECK(!load("return { adminToken = 'sk-secret-with blank', key = 'sk-secret-key', x = 1 }"));
  CHECK(!strstr(buf_cstr(&report.problems), "sk-secret"));
  CHECK(!load("return { clientKeys = { 'sk-secret-client' }, host = 'sk-secret-client/' }"));
  CHECK(!strstr(buf_cstr(&report.problems), "sk-secret"));
  CHECK(reports(&report.problems, "[redacted]"));
}

static void problems_are_in_order_and_bounded(void) {
  CHECK(!load("return {\n zzz = 1,\n port = -1,\n aaa = 1,\n}"));
  const char *text = buf_cstr(&report.problems);
  const char *first = strstr(text, "c.lua:1: no providers"),
             *second = strstr(text, "c.lua:2: unknown option \"zzz\"");
  const char *third = strstr(text, "c.lua:3: port"),
             *fourth = strstr(text, "c.lua:4: unknown option \"aaa\"");
  CHECK(first && second && third && fourth && first < second && second < third && third < fourth);
  CHECK(!load("local t = {} for i = 1, 5000 do t['x' .. i] = i end return t"));
  CHECK_INT(report.n_problems, 5001);
  CHECK(reports(&report.problems, "… and 4901 more\n"));
}

static void warnings_are_told(void) {
  CHECK(load(
      "local k = env('TEST_SETTINGS_UNSET') or nil\nreturn {\n port = 1,\n port = 2, adminToken = k and k,\n"
      " clientKeys = { 'zq9zq' }, " ONE " }"));
  CHECK_INT(plan->settings.port, 2);
  CHECK(reports(&report.warnings, "c.lua:4: port is set twice, first in line 3: this one counts"));
  CHECK(reports(&report.warnings, "c.lua:4: adminToken is nil, as if it were not written"));
  CHECK(reports(&report.warnings, "c.lua:5: clientKeys[1] is short (5 characters)"));
  CHECK_INT(report.n_warnings, 3);
  CHECK(load("return { host = '127.0.0.1', " ONE " }"));
  CHECK_INT(report.n_warnings, 0);
}

/* ---- files ---- */

static void files(void) {
  CHECK(!load_with("/nonexistent/c.lua", SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "/nonexistent/c.lua: No such file or directory\n"));
  CHECK(!load_with("/tmp", SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "/tmp: Is a directory\n"));
  CHECK(!load_with("/dev/zero", SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "/dev/zero: not a regular file\n"));

  (void)put_file("empty.pem", "", 0644);
  CHECK(
      !load_with(put_file("t.lua", "return { tls = { ca = 'empty.pem' }, " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "empty.pem\" holds no certificate"));

  (void)put_file("wallet.key", "not a key\n", 0600);
  CHECK(!load_with(put_file("k.lua", "return {\n keyFile = 'wallet.key', " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "k.lua:2: keyFile must be a private key"));
  (void)put_file("wallet.key", "00", 0644);
  CHECK(!load_with(put_file("k.lua", "return {\n keyFile = 'wallet.key', key = '1', " ONE " }", 0644),
                   SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "can be read by others (mode 0644): run chmod 600 on it"));
  CHECK(reports(&report.problems, "key and keyFile are both set"));

  (void)put_file("empty.lua", " \n", 0644);
  (void)put_file("compiled.lua", "\x1bLJ\x02", 0644);
  CHECK(!load_with(put_file("s.lua", "return { strategy = 'empty.lua', " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "empty.lua\" is empty"));
  CHECK(!load_with(put_file("s.lua", "return { strategy = './compiled.lua', " ONE " }", 0644), SPAN_NONE,
                   NULL));
  CHECK(reports(&report.problems, "is compiled Lua; only source text is accepted"));
  char *large = malloc(((size_t)1 << 20) + 2);
  memset(large, ' ', ((size_t)1 << 20) + 1);
  large[((size_t)1 << 20) + 1] = '\0';
  (void)put_file("large.lua", large, 0644);
  free(large);
  CHECK(!load_with(put_file("s.lua", "return { strategy = 'large.lua', " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "large.lua\": the file is too large"));

  /* A preset's name wins over a file of that name; a name that is no preset may be a file. */
  (void)put_file("round-robin", "return {}", 0644);
  (void)put_file("own", "return { abi = 1 }", 0644);
  CHECK(load_with(put_file("s.lua", "return { strategy = 'round-robin', " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(!plan->strategy_path);
  CHECK(load_with(put_file("s.lua", "return { strategy = 'own', " ONE " }", 0644), SPAN_NONE, NULL));
  CHECK(plan->strategy_path);
}

/* ---- flags, environment ---- */

static void flags_win(void) {
  (void)setenv("MOONGATE_PORT", "1", 1);
  (void)setenv("MOONGATE_WORKERS", "7", 1);
  static const char *const PROVIDERS[] = {"http://10.0.0.1:80", ADDRESS};
  struct settings_overrides o = no_overrides();
  o.host = "127.0.0.1";
  o.port = 3;
  o.strategy = "round-robin";
  o.providers = PROVIDERS;
  o.n_providers = 2;
  o.max_retries = 4;
  o.health_interval_ms = 500;
  o.session_timeout_ms = 600;
  o.log_level = "error";
  o.log_format = "json";
  o.rpc = "http://node";
  CHECK(load_with(
      "c.lua",
      SPAN("return { host = '::1', port = 2, models = { m = { 'old' } }, strategy = 'round-robin',\n"
           " providers = { { id = 'old', endpoint = 'http://a' } } }"),
      &o));
  const struct settings *s = &plan->settings;
  CHECK_STR(s->host, strlen(s->host), "127.0.0.1");
  CHECK_INT(s->port, 3);
  CHECK_INT(s->workers, 7);
  CHECK_INT(s->max_retries, 4);
  CHECK_INT(s->health_interval_ms, 500);
  CHECK_INT(s->session_timeout_ms, 600);
  CHECK_INT(s->log_level, LOG_ERROR);
  CHECK_INT(s->log_format, LOG_JSON);
  CHECK_INT(plan->n_entries, 2);
  CHECK_STR(plan->entries[0].provider->id, strlen(plan->entries[0].provider->id), "10.0.0.1:80");
  CHECK_INT(plan->n_routes, 0);
  CHECK(reports(&report.warnings,
                "models.m[1] names \"old\", which is no provider now that --provider replaces the list"));
  o.port = -1;
  CHECK(load_with("c.lua", SPAN("return { port = 2, " ONE " }"), &o));
  CHECK_INT(plan->settings.port, 2);
  CHECK(load_with(NULL, SPAN_NONE, &o));
  CHECK_INT(plan->settings.port, 1);
  (void)unsetenv("MOONGATE_PORT");
  CHECK(load_with(NULL, SPAN_NONE, &o));
  CHECK_INT(plan->settings.port, 3000);
  (void)unsetenv("MOONGATE_WORKERS");
}

static void wrong_flags_and_variables(void) {
  static const char *const PROVIDERS[] = {"10.0.0.1:80"};
  struct settings_overrides o = no_overrides();
  o.host = "a/b";
  o.strategy = "nope";
  o.providers = PROVIDERS;
  o.n_providers = 1;
  o.max_retries = 1000;
  (void)setenv("MOONGATE_PORT", "x", 1);
  (void)setenv("ZG_PRIVATE_KEY", "sk-secret-not-hex", 1);
  CHECK(!load_with(NULL, SPAN_NONE, &o));
  CHECK(reports(&report.problems, "--host must be a host name"));
  CHECK(reports(&report.problems, "--strategy \"nope\" is no preset"));
  CHECK(reports(&report.problems,
                "--provider must begin with \"http://\" or \"https://\", \"10.0.0.1:80\" does not"));
  CHECK(reports(&report.problems, "--max-retries must be a whole number between 0 and 255, not 1000"));
  CHECK(reports(&report.problems, "environment variable MOONGATE_PORT must be a whole number"));
  CHECK(reports(&report.problems, "environment variable ZG_PRIVATE_KEY must be a private key"));
  CHECK_INT(report.n_problems, 6);
  CHECK(!strstr(buf_cstr(&report.problems), "sk-secret"));
  (void)unsetenv("MOONGATE_PORT");
  (void)unsetenv("ZG_PRIVATE_KEY");
  CHECK(!load_with(NULL, SPAN_NONE, NULL));
  CHECK(reports(&report.problems, "no providers: name one with --provider"));
  (void)setenv("MOONGATE_PROVIDERS", "http://a, http://b", 1);
  CHECK(load_with(NULL, SPAN_NONE, NULL));
  CHECK_INT(plan->n_entries, 2);
  (void)unsetenv("MOONGATE_PROVIDERS");
}

static bool is_0g(struct u256 neuron, const char *amount) {
  struct u256 n;
  return u256_parse_0g(&n, span_str(amount)) == 0 && u256_eq(n, neuron);
}

static void every_option_of_the_chain(void) {
  (void)put_file("wallet.key", "0x" KEY "\n", 0600);
  CHECK(load_with(put_file("full.lua", FULL, 0644), SPAN_NONE, NULL));
  const struct chain_settings *c = &plan->settings.chain;
  CHECK_STR(c->nodes[0], strlen(c->nodes[0]), "https://node.example/v2/a-key-of-a-node");
  CHECK_STR(c->nodes[1], strlen(c->nodes[1]), "http://127.0.0.1:8545");
  CHECK(!c->nodes[2]);
  CHECK_INT(c->token_lifetime_ms, 3600000);
  CHECK(c->has_ledger && !c->has_inference);
  CHECK_INT(c->ledger.bytes[0], 0x12);
  CHECK(c->funding.is_on && is_0g(c->funding.ledger_min, "3") && is_0g(c->funding.per_provider, "1.5") &&
        is_0g(c->funding.max, "12.25"));
  CHECK(report.key);
  char text[ADDRESS_TEXT_LEN + 1];
  address_text(text, key_address(report.key));
  CHECK_STR(text, strlen(text), "0xB12883374b77628436C9d8DDdd3ad177F4bB251D");
}

static void amounts_are_numbers_or_decimal_texts(void) {
  CHECK(load(
      "return { autoFunding = { perProvider = '1.000000000000000001', max = 1e-7, ledgerMin = '3 0G' }, " ONE
      " }"));
  const struct funding_rules *f = &plan->settings.chain.funding;
  CHECK(is_0g(f->per_provider, "1.000000000000000001") && is_0g(f->max, "0.0000001") &&
        is_0g(f->ledger_min, "3"));
  CHECK(load("return { autoFunding = true, " ONE " }"));
  f = &plan->settings.chain.funding;
  CHECK(is_0g(f->per_provider, "2") && is_0g(f->max, "10") && is_0g(f->ledger_min, "3"));
  CHECK(reports(&report.warnings, "autoFunding moves nothing: there is no wallet"));
  CHECK(load("return { " ONE " }") && !plan->settings.chain.funding.is_on);
  CHECK(!load("return { autoFunding = { ledgerMin = -1, perProvider = 0.5, max = '1.0000000000000000001', mx "
              "= 1 }, " ONE " }"));
  CHECK(reports(&report.problems, "autoFunding.ledgerMin must be an amount in 0G"));
  CHECK(reports(&report.problems, "autoFunding.perProvider must be at least 1 0G"));
  CHECK(reports(&report.problems, "(at most 18 places are possible)"));
  CHECK(reports(&report.problems, "unknown option \"mx\" in autoFunding; did you mean \"max\"?"));
}

static void chain_providers_say_what_they_lack(void) {
  CHECK(load("return { providers = { '" ADDRESS "' } }"));
  CHECK(reports(&report.warnings, "providers on chain need a node: set rpc"));
  CHECK(reports(&report.warnings, "providers on chain need a wallet"));
  CHECK(load("return { rpc = 'https://node/x?key=1', key = '0x" KEY "', providers = { '" ADDRESS "' } }"));
  CHECK_INT(report.n_warnings, 1); /* the open port */
}

static void mistyped_addresses_are_told(void) {
  CHECK(load("return { providers = { '0xB12883374b77628436C9d8DDdd3ad177F4bB251d' } }"));
  CHECK(reports(&report.warnings, "providers[1] has letters whose case is no right checksum"));
  CHECK(!load("return { contracts = { ledger = '0xB12883374b77628436C9d8DDdd3ad177F4bB251d' }, " ONE " }"));
  CHECK(reports(&report.problems, "contracts.ledger is mistyped"));
  (void)setenv("INFERENCE_CA", "0xB12883374b77628436C9d8DDdd3ad177F4bB251D", 1);
  CHECK(load("return { " ONE " }") && plan->settings.chain.has_inference && !plan->settings.chain.has_ledger);
  (void)unsetenv("INFERENCE_CA");
}

static void the_key_comes_from_the_environment_and_is_in_no_problem(void) {
  CHECK(setenv("ZG_PRIVATE_KEY", "0x" KEY, 1) == 0);
  CHECK(load("return { " ONE " }") && report.key);
  CHECK(load("return { key = assert(env('ZG_PRIVATE_KEY')), " ONE " }") && report.key);
  CHECK_INT(report.n_problems, 0);
  CHECK(setenv("MY_KEY", "0x" KEY, 1) == 0);
  CHECK(!load("error(env('MY_KEY'))"));
  CHECK(!strstr(buf_cstr(&report.problems), "01b48d"));
  CHECK(load("return { key = env('MY_KEY'), " ONE " }") && report.key);
  CHECK(!load("return { key = '"
              "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
              "', " ONE " }"));
  CHECK(reports(&report.problems, "key is no private key: the number is out of range"));
  (void)unsetenv("ZG_PRIVATE_KEY");
  (void)unsetenv("MY_KEY");
}

static void discover_says_which_services_are_meant(void) {
  CHECK(load("return { rpc = 'http://n', key = '" KEY "', host = '127.0.0.1',\n"
             " providers = { '" ADDRESS
             "', discover{ model = 'm', maxPriceIn = 0.05, maxPriceOut = '2 0G', limit = 3,\n"
             "   weight = 2, priority = 7, tags = { zone = 'x' } }, discover { type = 'any', verifiable = "
             "false } },\n"
             " models = { a = { '" ADDRESS2 "', '" ADDRESS "' } } }"));
  CHECK_INT(report.n_warnings, 0);
  CHECK_INT(plan->n_entries, 1);
  CHECK_INT(plan->n_configured, 1);
  CHECK_INT(plan->n_discovers, 2);
  const struct plan_discover *d = plan->discovers;
  CHECK_STR(d[0].model, strlen(d[0].model), "m");
  CHECK_STR(d[0].service_type, strlen(d[0].service_type), "chatbot");
  CHECK(d[0].is_verifiable && !d[0].takes_unverified && d[0].limit == 3 && d[0].weight == 2 &&
        d[0].priority == 7);
  CHECK(d[0].has_max_in && u256_eq(d[0].max_in, u256_of(50000000000000000)));
  CHECK(d[0].has_max_out && u256_eq(d[0].max_out, u256_of(2000000000000000000)));
  CHECK_STR(d[0].tags[0], strlen(d[0].tags[0]), "zone=x");
  CHECK(!d[1].model && !d[1].service_type && !d[1].is_verifiable && d[1].takes_unverified &&
        !d[1].has_max_in);
  CHECK_INT(plan->n_routes, 1);
  CHECK_STR(plan->routes[0].found[0], strlen(plan->routes[0].found[0]), ADDRESS2);
  CHECK(slot_has(&plan->routes[0].slots, 0));
  CHECK(load("return { providers = discover{} }"));
  CHECK_INT(plan->n_entries, 0);
  CHECK(reports(&report.warnings, "providers on chain need a node"));
  CHECK(!load("return {\n providers = {\n discover{ modell = 'm',\n maxPriceIn = 'x' } } }"));
  CHECK(reports(&report.problems,
                "c.lua:3: unknown option \"modell\" in providers[1]; did you mean \"model\"?"));
  CHECK(reports(&report.problems,
                "c.lua:4: providers[1].maxPriceIn must be an amount in 0G per million tokens"));
  CHECK(!load("return { providers = discover(5) }"));
  CHECK(reports(&report.problems, "discover() wants a table"));
}

static void many_providers(void) {
  CHECK(load("local t = {} for i = 1, 256 do t[i] = 'http://10.0.0.1:80' end return { providers = t }"));
  CHECK_INT(plan->n_entries, 256);
  CHECK_STR(plan->entries[255].provider->id, strlen(plan->entries[255].provider->id), "10.0.0.1:80-256");
  CHECK(!load("local t = {} for i = 1, 257 do t[i] = 'http://10.0.0.1:80' end return { providers = t }"));
  CHECK(reports(&report.problems, "providers has 257 entries; at most 256 are possible"));
  CHECK(!load("return { providers = { [1e9] = 'http://a' } }"));
  CHECK(reports(&report.problems, "providers has 1000000000 entries"));
}

static void reload_keeps_providers(void) {
  CHECK(load("return { " ONE " }"));
  struct plan *old = plan_ref(plan);
  struct settings_report again;
  settings_report_init(&again);
  struct plan *next = settings_load(&again, "c.lua", SPAN("return { port = 1, " ONE " }"), NULL, registry);
  bool is_same = next && next->entries[0].provider == old->entries[0].provider;
  plan_unref(&next);
  plan_unref(&old);
  settings_report_release(&again);
  CHECK(is_same);
}

int main(void) {
  if (!mkdtemp(dir)) return 1;
  RUN(defaults);
  RUN(every_option);
  RUN(every_provider);
  RUN(secrets_are_known);
  RUN(texts_for_numbers_and_booleans);
  RUN(lua_of_a_file);
  RUN(problems_are_named);
  RUN(no_secret_in_a_problem);
  RUN(problems_are_in_order_and_bounded);
  RUN(warnings_are_told);
  RUN(files);
  RUN(flags_win);
  RUN(wrong_flags_and_variables);
  RUN(every_option_of_the_chain);
  RUN(amounts_are_numbers_or_decimal_texts);
  RUN(chain_providers_say_what_they_lack);
  RUN(mistyped_addresses_are_told);
  RUN(the_key_comes_from_the_environment_and_is_in_no_problem);
  RUN(discover_says_which_services_are_meant);
  RUN(many_providers);
  RUN(reload_keeps_providers);
  forget();
  redact_forget_all();
  char command[64];
  (void)snprintf(command, sizeof command, "rm -r %s", dir);
  return CHECK_END() || system(command) != 0;
}
