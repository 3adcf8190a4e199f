#include "check.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "sim/dice.h"
#include "sim/event_queue.h"
#include "sim/samples.h"
#include "sim/labour.h"
#include "sim/simulate.h"
#include "script/guard.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/moongate-simulate-XXXXXX";
static char err[SCRIPT_ERROR_MAX];
static struct scenario *s;
static struct simulate_result r;

/* ---- events, dice, samples, service ---- */

static void events_come_out_in_order(void) {
  struct event_queue q = {0};
  struct rng rng;
  rng_seed(&rng, 3);
  for (uint32_t i = 0; i < 5000; i++)
    event_queue_push(&q, rng_below(&rng, 300), 0, i, 0);
  struct event e = {0}, last = {.at = -1};
  unsigned n = 0;
  while (event_queue_pop(&q, &e)) {
    CHECK(e.at > last.at || (e.at == last.at && e.order > last.order));
    CHECK_INT(e.who, e.order);
    last = e;
    if (++n % 7 == 0 && n < 3000) event_queue_push(&q, e.at + 5, 0, (uint32_t)q.n_pushed, 0);
  }
  CHECK(n > 5000);
  CHECK(!event_queue_first(&q));
  event_queue_release(&q);
}

static void a_draw_depends_on_its_use_alone(void) {
  struct rng a = dice_of(1, 2, 3, 4), b = dice_of(1, 2, 3, 4);
  CHECK(rng_u64(&a) == rng_u64(&b));
  for (unsigned i = 0; i < 4; i++) {
    struct rng other = dice_of(1 + (i == 0), 2 + (i == 1), 3 + (i == 2), 4 + (i == 3));
    b = dice_of(1, 2, 3, 4);
    CHECK(rng_u64(&other) != rng_u64(&b));
  }
}

static void a_log_normal_keeps_mean_and_deviation(void) {
  struct rng rng;
  struct log_normal d;
  rng_seed(&rng, 5);
  dice_log_normal(&d, 400, 0.5);
  double sum = 0, squares = 0;
  enum { N = 200000 };
  for (int i = 0; i < N; i++) {
    double x = dice_from_log_normal(&rng, &d);
    sum += x;
    squares += x * x;
  }
  double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
  CHECK(fabs(mean - 400) < 4 && fabs(deviation - 200) < 6);
  dice_log_normal(&d, 400, 0);
  CHECK(fabs(dice_from_log_normal(&rng, &d) - 400) < 1e-9);
}

static void percentiles_are_exact(void) {
  struct samples list = {0};
  CHECK(isnan(samples_sum_up(&list).p50_ms));
  for (int i = 100; i >= 1; i--)
    samples_add(&list, i);
  struct times t = samples_sum_up(&list);
  CHECK(t.p50_ms == 50 && t.p90_ms == 90 && t.p99_ms == 99 && t.mean_ms == 50.5);
  samples_release(&list);
}

static void a_full_service_shares_its_speed(void) {
  struct labour v;
  struct event e;
  uint64_t at = 0;
  labour_init(&v, 1);
  labour_begin(&v, 0);
  labour_mark(&v, 100, 0, 1, 0);
  CHECK(labour_next_us(&v, &at));
  CHECK_INT(at, 100000);
  /* Half of the first one is done when a second one comes: the rest takes twice as long. */
  labour_begin(&v, 50000);
  labour_mark(&v, 100, 0, 2, 0);
  CHECK(labour_next_us(&v, &at));
  CHECK_INT(at, 150000);
  CHECK(!labour_take_due(&v, &e, 149999));
  CHECK(labour_take_due(&v, &e, 150000));
  CHECK_INT(e.who, 1);
  labour_end(&v, 150000);
  CHECK(labour_next_us(&v, &at));
  CHECK_INT(at, 200000);
  CHECK(labour_take_due(&v, &e, 200000));
  labour_end(&v, 200000);
  CHECK(!labour_next_us(&v, &at));
  labour_release(&v);
}

/* ---- runs ---- */

static void forget(void) {
  simulate_release(&r);
  scenario_free(s);
  s = NULL;
}

/* n equal providers without faults, not full. */
static void make(unsigned n) {
  forget();
  s = scenario_new(n);
  for (unsigned i = 0; i < n; i++) {
    struct scenario_provider *p = &s->providers[i];
    p->weight = 1;
    p->priority = 50;
    p->latency_ms = 400;
    p->jitter = 0.3;
    p->parallel = 50;
    p->error_rate = 0;
  }
}

static bool run(const char *strategy, uint64_t seed) {
  simulate_release(&r);
  scenario_seal(s);
  bool ok = simulate_run(&r, s, strategy, seed, err);
  if (!ok) printf("# %s\n", err);
  return ok;
}

/* Nothing is lost, nothing is counted twice. */
static bool adds_up(void) {
  uint64_t attempts = 0, causes = 0, failures = 0;
  for (unsigned i = 0; i < r.n_rows; i++) {
    attempts += r.rows[i].requests;
    failures += r.rows[i].failures;
    if (r.rows[i].in_flight) return false;
  }
  for (unsigned i = 0; i < SIMULATE_CAUSES; i++)
    causes += r.failed_by[i];
  bool ok = r.requests == r.answered + r.failed && causes == r.failed && attempts == r.attempts &&
            attempts - failures == r.answered;
  if (!ok)
    printf("# %llu requests, %llu answered, %llu failed, %llu by cause, %llu attempts, %llu failed\n",
           (unsigned long long)r.requests, (unsigned long long)r.answered, (unsigned long long)r.failed,
           (unsigned long long)causes, (unsigned long long)attempts, (unsigned long long)failures);
  return ok;
}

static const char *put_file(const char *name, const char *text) {
  static char path[256];
  (void)snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  (void)fwrite(text, 1, strlen(text), f);
  (void)fclose(f);
  return path;
}

static void an_idle_provider_takes_its_mean_time(void) {
  make(1);
  s->rate = 5;
  CHECK(run("random", 1));
  CHECK(adds_up());
  CHECK_INT(r.requests, SCENARIO_REQUESTS_DEFAULT);
  CHECK_INT(r.failed, 0);
  CHECK(fabs(r.answers.mean_ms - 400) < 8);
  CHECK(fabs(r.seconds - 2000) < 60);
  CHECK(r.fairness == 1);
}

static void one_seed_gives_one_result(void) {
  static const char *const strategies[] = {"round-robin", "least-connections", "random", "p2c", "peak-ewma"};
  for (size_t i = 0; i < ARRAY_LEN(strategies); i++) {
    struct simulate_row first[5];
    make(5);
    forget();
    s = scenario_new(5);
    CHECK(run(strategies[i], 9));
    struct times times = r.answers;
    CHECK_INT(r.n_rows, 5);
    memcpy(first, r.rows, sizeof first);
    CHECK(run(strategies[i], 9));
    for (unsigned k = 0; k < 5; k++) {
      CHECK_INT(r.rows[k].requests, first[k].requests);
      CHECK_INT(r.rows[k].failures, first[k].failures);
      CHECK_INT(r.rows[k].max_in_flight, first[k].max_in_flight);
      CHECK(r.rows[k].answers.mean_ms == first[k].answers.mean_ms);
    }
    CHECK(memcmp(&r.answers, &times, sizeof times) == 0);
    CHECK(run(strategies[i], 10));
    CHECK(memcmp(&r.answers, &times, sizeof times) != 0);
  }
}

static void counters_and_store_begin_anew(void) {
  const char *path = put_file("turn.lua", "local c = lb.counter('simulated')\n"
                                          "return { abi = 1, select = function(_, _, pool)\n"
                                          "  local n = c:add(1) + lb.shared.incr('n')\n"
                                          "  return n < 100 and 1 or 2 end }");
  make(2);
  for (int i = 0; i < 2; i++) {
    CHECK(run(path, 1));
    CHECK_INT(r.script_errors, 0);
    CHECK_INT(r.rows[0].requests, 49);
  }
}

static void round_robin_gives_equal_shares(void) {
  make(3);
  s->requests = 10000;
  s->workers = 4;
  CHECK(run("round-robin", 2));
  CHECK(adds_up());
  for (unsigned i = 0; i < 3; i++)
    CHECK(r.rows[i].requests >= 3333 && r.rows[i].requests <= 3334);
}

static void weights_are_met(void) {
  static const char *const strategies[] = {"weighted-round-robin", "random"};
  static const double weights[] = {5, 3, 2};
  for (size_t k = 0; k < ARRAY_LEN(strategies); k++) {
    make(3);
    for (unsigned i = 0; i < 3; i++)
      s->providers[i].weight = weights[i];
    s->requests = 20000;
    CHECK(run(strategies[k], 3));
    for (unsigned i = 0; i < 3; i++)
      CHECK(fabs(r.rows[i].share - weights[i] / 10) < 0.02);
    CHECK(r.fairness > 0.999);
  }
}

static void least_connections_prefers_the_fast_one(void) {
  make(2);
  s->providers[0].latency_ms = 100;
  s->rate = 100;
  CHECK(run("round-robin", 4));
  double even = r.answers.mean_ms;
  CHECK(fabs(r.rows[0].share - 0.5) < 0.01);
  CHECK(run("least-connections", 4));
  CHECK(adds_up());
  CHECK(r.rows[0].share > 0.7);
  CHECK(r.answers.mean_ms < 0.8 * even);
}

static void two_strategies_meet_the_same_requests(void) {
  make(3);
  s->rate = 20;
  CHECK(run("round-robin", 5));
  double seconds = r.seconds;
  CHECK(run("random", 5));
  CHECK(fabs(r.seconds - seconds) < 3);
}

static void a_full_provider_slows_down(void) {
  make(1);
  s->providers[0].parallel = 4;
  s->rate = 9; /* of 10 */
  CHECK(run("random", 6));
  CHECK(adds_up());
  CHECK(r.answers.mean_ms > 500 && r.rows[0].max_in_flight > 8);
}

static void clients_wait_for_their_answers(void) {
  make(2);
  s->clients = 30;
  s->requests = 3000;
  CHECK(run("random", 7));
  CHECK(adds_up());
  CHECK_INT(r.requests, 3000);
  CHECK(r.rows[0].max_in_flight <= 30);
  CHECK(fabs(r.seconds - 3000 / 30 * 0.4) < 3);
}

static void a_duration_ends_the_arrivals(void) {
  make(2);
  s->rate = 100;
  s->duration_s = 60;
  CHECK(run("random", 7));
  CHECK(adds_up());
  CHECK(fabs((double)r.requests - 6000) < 300);
  CHECK(r.seconds >= 59 && r.seconds < 65);
}

static void a_down_window_moves_traffic(void) {
  make(3);
  s->providers[1].down = x_calloc(1, sizeof *s->providers[1].down);
  s->providers[1].n_down = 1;
  s->providers[1].down[0] = (struct scenario_window){20, 70};
  s->health_interval_ms = 5000;
  s->rate = 60;
  s->duration_s = 100;
  CHECK(run("round-robin", 8));
  CHECK(adds_up());
  /* A third of the time before and after, a few tries in between. */
  CHECK(r.rows[1].requests - r.rows[1].failures > 700 && r.rows[1].requests - r.rows[1].failures < 1100);
  CHECK(r.rows[1].failures > 3 && r.rows[1].failures < 80);
  CHECK(r.rows[0].requests > 2300);
  /* Only what had been streaming there is lost. */
  CHECK(r.failed > 0 && r.failed < 12);
  CHECK_INT(r.failed_by[OUTCOME_STREAM_TRUNCATED], r.failed);
}

static void with_everybody_gone_requests_fail(void) {
  make(2);
  for (unsigned i = 0; i < 2; i++) {
    s->providers[i].down = x_calloc(1, sizeof *s->providers[i].down);
    s->providers[i].n_down = 1;
    s->providers[i].down[0] = (struct scenario_window){0, 1000};
  }
  s->duration_s = 20;
  s->rate = 50;
  CHECK(run("least-connections", 8));
  CHECK(adds_up());
  CHECK_INT(r.answered, 0);
  CHECK(r.failed > 900);
}

static void every_class_of_fault_adds_up(void) {
  for (int c = OUTCOME_OK + 1; c < OUTCOME_CLIENT_CLOSED; c++) {
    make(3);
    s->providers[0].error_rate = 0.2;
    s->providers[0].error_class = (enum outcome_class)c;
    s->providers[0].retry_after_ms = 300;
    s->clients = 40;
    s->requests = 3000;
    CHECK(run("random", 9));
    if (!adds_up()) printf("# %s\n", outcome_name((enum outcome_class)c));
    CHECK(adds_up());
    CHECK_INT(r.requests, 3000);
    CHECK(r.rows[0].failures > 0);
    CHECK_INT(r.rows[1].failures, 0);
    bool is_relayed = c == OUTCOME_CLIENT_ERROR || c == OUTCOME_CONTENT_POLICY || c == OUTCOME_TIMEOUT_TOTAL;
    if (is_relayed) CHECK_INT(r.failed, r.rows[0].failures);
    if (c == OUTCOME_SERVER || c == OUTCOME_CONNECT || c == OUTCOME_RATE_LIMITED) CHECK_INT(r.failed, 0);
  }
}

static void without_retries_each_fault_is_seen(void) {
  make(2);
  s->providers[0].error_rate = 0.1;
  s->max_retries = 0;
  CHECK(run("random", 10));
  CHECK(adds_up());
  CHECK_INT(r.retries, 0);
  CHECK_INT(r.failed, r.rows[0].failures);
  CHECK_INT(r.failed_by[OUTCOME_SERVER], r.failed);
}

static void retry_and_plans_are_followed(void) {
  const char *path = put_file(
      "retry.lua", "return { abi = 1, select = function() return { 2, 1 } end,\n"
                   "retry = function(_, req) return req.attempt < 3 and lb.SAME or lb.NEXT, 10 end }");
  make(2);
  s->providers[1].error_rate = 0.1;
  s->rate = 20;
  CHECK(run(path, 11));
  CHECK(adds_up());
  CHECK_INT(r.script_errors, 0);
  CHECK_INT(r.failed, 0);
  CHECK(r.retries > 500);
  CHECK(r.rows[1].share > 0.75); /* now and then it is ejected */
}

static void nobody_is_a_failure_with_a_reason(void) {
  const char *path =
      put_file("none.lua", "return { abi = 1, select = function() return nil, 'not today' end }");
  make(2);
  s->requests = 100;
  CHECK(run(path, 12));
  CHECK(adds_up());
  CHECK_INT(r.failed_by[SIMULATE_NOBODY], 100);
  CHECK_STR(r.reason, strlen(r.reason), "not today");
}

static void a_failing_script_fails_no_request(void) {
  const char *path = put_file("bad.lua", "return { abi = 1, select = function(s)\n  return s.x.y\nend }");
  make(2);
  s->requests = 500;
  CHECK(run(path, 13));
  CHECK(adds_up());
  CHECK_INT(r.failed, 0);
  CHECK(r.script_errors > 0);
  CHECK(strstr(r.last_error, "bad.lua:2:"));
}

static void ticks_and_health_are_called(void) {
  const char *path = put_file(
      "callbacks.lua",
      "local ticks, windows, probes = lb.counter('ticks'), lb.counter('windows'), lb.counter('probes')\n"
      "return { abi = 1, tick = function() ticks:add(1) end,\n"
      "health = function(_, p, e)\n"
      "  if e.is_probe then probes:add(1) else windows:add(1) end\n"
      "  if p.id == 'steady' then return lb.DOWN, 'because' end end,\n"
      "select = function(_, req, pool)\n"
      "  if tonumber(req.id:match('%d+')) < 1900 then return 1 end\n"
      "  if ticks.get() < 30 or windows.get() < 10 or probes.get() < 2 then error('not called') end\n"
      "  return 1 end }");
  make(2);
  s->requests = 2000;
  s->rate = 100;
  CHECK(run(path, 14));
  CHECK(adds_up());
  if (r.script_errors) printf("# %s\n", r.last_error);
  CHECK_INT(r.script_errors, 0);
  CHECK_INT(r.rows[0].requests, 0);
}

static void a_strategy_that_cannot_be_loaded_says_why(void) {
  make(2);
  scenario_seal(s);
  CHECK(!simulate_run(&r, s, "round-robbin", 1, err));
  CHECK(strstr(err, "did you mean \"round-robin\"?"));
  CHECK(!simulate_run(&r, s, "./none.lua", 1, err));
  CHECK(strstr(err, "none.lua: No such file"));
  CHECK(!simulate_run(&r, s, put_file("syntax.lua", "return {\n abi = = 1 }"), 1, err));
  CHECK(strstr(err, "syntax.lua:2:"));
}

static void the_clock_is_given_back(void) {
  make(1);
  s->requests = 10;
  CHECK(run("random", 1));
  uint64_t before = clock_mono_us();
  (void)usleep(2000);
  CHECK(clock_mono_us() >= before + 2000);
}

/* ---- scenario files ---- */

static struct buf problems;

static bool load(const char *text) {
  forget();
  buf_clear(&problems);
  s = scenario_load(put_file("s.lua", text), &problems);
  return s != NULL;
}

static void a_scenario_is_read(void) {
  CHECK(
      load("return { duration = 9, workers = 3, maxRetries = 1, healthCheckInterval = 500,\n"
           "providers = { { id = 'a', weight = 2, priority = 7, latencyMs = 20, jitter = 0, parallel = 4,\n"
           "  errorRate = 0.5, errorClass = 'rate_limited', errorMs = 3, retryAfterMs = 70, price_in = 1,\n"
           "  firstByte = 0.5, model = 'm', tags = { region = 'eu', gpu = true }, down = { { 5, 6 }, { 1, 2 "
           "} } },\n"
           "  { id = 'b' } },\n"
           "load = { clients = 8, thinkMs = 5, requests = 77, sessions = 10, skew = 0.5,\n"
           "  mix = { { share = 3, model = 'm', headers = { ['X-Team'] = 'blue' }, maxTokens = 9 }, {} } },\n"
           "strategyOptions = { mine = { max = 8, list = { 1, 'x', true } } } }"));
  CHECK_INT(problems.len, 0);
  CHECK_INT(s->n_providers, 2);
  const struct scenario_provider *p = &s->providers[0];
  CHECK(strcmp(p->id, "a") == 0 && strcmp(p->model, "m") == 0 && p->weight == 2 && p->priority == 7);
  CHECK(p->latency_ms == 20 && p->jitter == 0 && p->parallel == 4 && p->first_byte == 0.5);
  CHECK(p->error_rate == 0.5 && p->error_class == OUTCOME_RATE_LIMITED && p->error_ms == 3);
  CHECK(p->retry_after_ms == 70 && p->price_in == 1 && isnan(p->price_out));
  CHECK(strcmp(p->tags[0], "gpu") == 0 && strcmp(p->tags[1], "region=eu") == 0 && !p->tags[2]);
  CHECK(p->n_down == 2 && p->down[0].from == 1 && p->down[1].to == 6);
  CHECK(s->clients == 8 && s->rate == 0 && s->think_ms == 5 && s->requests == 77 && s->sessions == 10);
  CHECK(s->skew == 0.5 && s->duration_s == 9 && s->workers == 3 && s->max_retries == 1);
  CHECK_INT(s->health_interval_ms, 500);
  CHECK_INT(s->n_kinds, 2);
  CHECK(strcmp(s->kinds[0].head, "X-Team: blue\r\n") == 0 && s->kinds[0].max_tokens == 9);
  CHECK(s->kinds[0].share == 3 && s->kinds[1].share == 1 && !s->kinds[1].model &&
        isnan(s->kinds[1].max_tokens));
  CHECK_INT(s->n_options, 1);
  CHECK_STR(s->options[0].text, strlen(s->options[0].text),
            "return {[\"list\"]={[1]=1,[2]=\"x\",[3]=true},[\"max\"]=8}");
  CHECK(run("priority", 1));
  CHECK(adds_up());
  CHECK_INT(r.requests, 77);
}

static void problems_name_the_line(void) {
  static const struct {
    const char *text, *problem;
  } cases[] = {
      {"return 5", "s.lua:1: the file must return a table"},
      {"return {\n", "s.lua:2: unexpected symbol"},
      {"return {}", "s.lua:1: no providers"},
      {"return {\n providers = {} }", "s.lua:2: providers is empty"},
      {"return {\n providers = { {\n latency = 5 } } }",
       "s.lua:3: unknown option \"latency\" in providers[1]; did you mean \"latencyMs\"?"},
      {"return { providers = { { weight = 1 } } }", "s.lua:1: providers[1] needs an id"},
      {"return { providers = { { id = 'a' },\n { id = 'a' } } }",
       "s.lua:2: providers[2] has the id \"a\" of another"},
      {"return { providers = { { id = 'a',\n weight = -1 } } }",
       "s.lua:2: providers[1].weight must be a number between 0"},
      {"return { providers = { { id = 'a',\n errorClass = 'sever' } } }", "did you mean \"server\"?"},
      {"return { providers = { { id = 'a',\n down = { { 5, 2 } } } } }",
       "s.lua:2: providers[1].down[1] must end after it begins"},
      {"return { providers = { { id = 'a',\n down = { { 1, 3 }, { 2, 4 } } } } }",
       "s.lua:2: providers[1].down has windows that overlap"},
      {"return { providers = { { id = 'a' } },\n load = { rate = 1, clients = 1 } }",
       "s.lua:2: load has a rate and clients"},
      {"return { providers = { { id = 'a' } },\n load = { mix = { { share = 0 } } } }",
       "s.lua:2: load.mix has no share above 0"},
      {"return { providers = { { id = 'a' } },\n load = { mix = { { headers = { ['a b'] = 'x' } } } } }",
       "s.lua:2: load.mix[1].headers"},
      {"return { providers = { { id = 'a' } },\n strategyOptions = { p2c = { f = tostring } } }",
       "s.lua:2: strategyOptions.p2c.f must be plain data"},
      {"local t = {}\nt.p2c = t\nreturn { providers = { { id = 'a' } }, strategyOptions = t }",
       "strategyOptions"},
      {"local x = nil\nreturn { providers = x.y }", "s.lua:2: attempt to index"},
      {"return { providers = { { id = os.time() } } }", "s.lua:1: os is not available"},
      {"while true do pcall(function() while true do end end) end", "s.lua:1: it does not come to an end"},
      {"\033LJ\002", "compiled Lua is not accepted"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    CHECK(!load(cases[i].text));
    bool is_named = strstr(buf_cstr(&problems), cases[i].problem) != NULL;
    if (!is_named) printf("# %s# among:\n# %s\n", cases[i].text, buf_cstr(&problems));
    CHECK(is_named);
  }
  buf_clear(&problems);
  CHECK(!scenario_load("/no/such/file.lua", &problems));
  CHECK(strstr(buf_cstr(&problems), "/no/such/file.lua: No such file"));
}

static void requests_go_to_those_that_serve_their_model(void) {
  CHECK(load("return { providers = { { id = 'a', model = 'x' }, { id = 'b', model = 'y' } },\n"
             "load = { rate = 50, mix = { { share = 3, model = 'x' }, { share = 1, model = 'y' } } } }"));
  CHECK(run("round-robin", 1));
  CHECK(fabs(r.rows[0].share - 0.75) < 0.02);
}

static void costs_follow_the_prices(void) {
  CHECK(load("return { providers = { { id = 'a', price_in = 1, price_out = 0 }, { id = 'b' } },\n"
             "load = { rate = 10, requests = 2000, mix = { { promptTokens = 100 } } } }"));
  CHECK(run("round-robin", 1));
  CHECK(fabs(r.cost / 1000 - 100) < 5);
  make(1);
  CHECK(run("round-robin", 1));
  CHECK(isnan(r.cost));
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  if (!mkdtemp(dir)) return 1;
  buf_init(&problems, SCENARIO_REPORT_MAX);
  RUN(events_come_out_in_order);
  RUN(a_draw_depends_on_its_use_alone);
  RUN(a_log_normal_keeps_mean_and_deviation);
  RUN(percentiles_are_exact);
  RUN(a_full_service_shares_its_speed);
  RUN(an_idle_provider_takes_its_mean_time);
  RUN(one_seed_gives_one_result);
  RUN(counters_and_store_begin_anew);
  RUN(round_robin_gives_equal_shares);
  RUN(weights_are_met);
  RUN(least_connections_prefers_the_fast_one);
  RUN(two_strategies_meet_the_same_requests);
  RUN(a_full_provider_slows_down);
  RUN(clients_wait_for_their_answers);
  RUN(a_duration_ends_the_arrivals);
  RUN(a_down_window_moves_traffic);
  RUN(with_everybody_gone_requests_fail);
  RUN(every_class_of_fault_adds_up);
  RUN(without_retries_each_fault_is_seen);
  RUN(retry_and_plans_are_followed);
  RUN(nobody_is_a_failure_with_a_reason);
  RUN(a_failing_script_fails_no_request);
  RUN(ticks_and_health_are_called);
  RUN(a_strategy_that_cannot_be_loaded_says_why);
  RUN(the_clock_is_given_back);
  RUN(a_scenario_is_read);
  RUN(problems_name_the_line);
  RUN(requests_go_to_those_that_serve_their_model);
  RUN(costs_follow_the_prices);
  forget();
  buf_release(&problems);
  guard_stop();
  return CHECK_END();
}
