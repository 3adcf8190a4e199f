#include "check.h"

#include "base/embedded.h"
#include "base/log.h"
#include "script/canary.h"
#include "script/generation_private.h"

#include <stdlib.h>

static struct buf report;

static struct plan *plan_of(const char *script) {
  struct plan *plan = plan_new();
  plan->n_entries = 3;
  plan->entries = x_calloc(3, sizeof *plan->entries);
  for (unsigned i = 0; i < 3; i++) {
    char id[2] = {(char)('a' + i), '\0'};
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1;
    plan->entries[i].priority = 100;
  }
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(script));
  return plan;
}

static unsigned try_plan(struct plan *plan, const char *previous) {
  plan_seal(plan);
  buf_clear(&report);
  unsigned n = canary_run(plan, previous, &report);
  plan_unref(&plan);
  return n;
}

static unsigned try_script(const char *script) {
  return try_plan(plan_of(script), NULL);
}

static bool tells(const char *text) {
  bool is_there = strstr(buf_cstr(&report), text) != NULL;
  if (!is_there) printf("# the report is: %s\n", buf_cstr(&report));
  return is_there;
}

/* A strategy with this beside a fine select. */
static unsigned try_callback(const char *text) {
  char script[2048];
  (void)snprintf(script, sizeof script, "return { abi = 1, select = function() return 1 end,\n%s }", text);
  return try_script(script);
}

static unsigned try_select(const char *body) {
  char script[2048];
  (void)snprintf(script, sizeof script, "return { abi = 1, select = function(state, req, pool)\n%s\nend }",
                 body);
  return try_script(script);
}

static void every_preset_passes(void) {
  size_t n;
  const struct embedded_file *files = embedded_list(&n);
  unsigned tried = 0;
  for (size_t i = 0; i < n; i++) {
    char name[64];
    if (sscanf(files[i].name, "strategies/%63[^.].lua", name) != 1) continue;
    struct plan *plan = plan_of("");
    free(plan->strategy_name);
    free(plan->strategy_path);
    free((char *)plan->strategy_source.ptr);
    plan->strategy_name = x_strdup(name);
    plan->strategy_path = NULL;
    plan->strategy_source = SPAN_NONE;
    unsigned findings = try_plan(plan, NULL);
    if (findings) printf("# %s: %s\n", name, buf_cstr(&report));
    CHECK_INT(findings, 0);
    tried++;
  }
  CHECK(tried >= 6);
}

static void a_good_script_passes(void) {
  CHECK_INT(
      try_script(
          "return { abi = 1, init = function(pool) return { n = #pool } end,\n"
          "  score = function(_, _, p) return p.in_flight / math.max(p.weight, 0.1) end,\n"
          "  retry = function(_, _, o) return o.class == 'rate_limited' and lb.SAME or lb.NEXT, 10 end,\n"
          "  observe = function(s, req, p, o) s[p.id] = o.total_ms end,\n"
          "  health = function(_, p, e) if not e.ok then return lb.DOWN, e.reason end end,\n"
          "  tick = function(s, pool) s.ticks = (s.ticks or 0) + #pool end,\n"
          "  export = function(s) return s end }"),
      0);
}

static void what_does_not_load_is_told(void) {
  CHECK_INT(try_script("return {\n abi = 1,\n select = 1 1\n}"), 1);
  CHECK(tells("my.lua:3: '}' expected"));
  CHECK_INT(try_callback(" init = function() error('no') end"), 1);
  CHECK(tells("my.lua:2: no\n"));
  CHECK_INT(try_callback(" init = function() while true do end end"), 1);
  CHECK(tells("my.lua:2: the script takes too long and was stopped"));
}

static void each_callback_is_run(void) {
  CHECK_INT(try_select("error('bad')"), 1);
  CHECK(tells("my.lua:2: select: bad (1 candidates, new providers, a plain request)"));
  CHECK_INT(try_callback(" retry = function() error('bad') end"), 1);
  CHECK(tells("my.lua:2: retry: bad (class connect"));
  CHECK_INT(try_callback(" retry = function() return 'soon' end"), 1);
  CHECK(tells("my.lua:2: retry: must return lb.NEXT"));
  CHECK_INT(try_callback(" observe = function() error('bad') end"), 1);
  CHECK(tells("my.lua:2: observe: bad (class ok"));
  CHECK_INT(try_callback(" health = function() error('bad') end"), 1);
  CHECK(tells("my.lua:2: health: bad (a probe"));
  CHECK_INT(try_callback(" health = function() return 'down' end"), 1);
  CHECK(tells("my.lua:2: health: must return lb.UP"));
  CHECK_INT(try_callback(" tick = function() error('bad') end"), 1);
  CHECK(tells("my.lua:2: tick: bad (new providers)"));
  CHECK_INT(try_callback(" export = function() return { print } end"), 1);
  CHECK(tells("my.lua:2: export: the exported data holds a function"));
  CHECK_INT(try_callback(" init = function(_, _, previous) if previous then error('not this') end end,\n"
                         " export = function() return {} end"),
            1);
  CHECK(tells("my.lua:2: not this (with what its own export has returned)"));
}

static void edges_are_tried(void) {
  CHECK_INT(try_select("if #pool == 64 then error('many') end return 1"), 1);
  CHECK(tells("select: many (64 candidates"));
  CHECK_INT(try_select("if pool[1] and pool[1].samples == 0 then return pool[1].latency_ms end return 1"), 1);
  CHECK(tells("select: returned NaN, which is no index of a candidate (1 to #pool)"));
  CHECK_INT(try_select("if req.model == '' then error('no model') end return 1"), 1);
  CHECK(tells("an empty request"));
  CHECK_INT(try_select("if #(req:header('x-tenant') or '') > 5000 then error('long') end return 1"), 1);
  CHECK(tells("a huge request"));
  CHECK_INT(try_select("if pool[1] and pool[1].state == 'down' then error('down') end return 1"), 1);
  CHECK(tells("all failing"));
  CHECK_INT(try_select("if pool[1] and pool[1].weight == 0 then error('weightless') end return 1"), 1);
  CHECK(tells("weight 0"));
  CHECK_INT(try_callback(" observe = function(_, _, _, o)\n  if o.class == 'dns' then error('dns') end end"),
            1);
  CHECK(tells("my.lua:3: observe: dns (class dns"));
}

static void writes_to_views_are_found(void) {
  CHECK_INT(try_select("if #pool > 0 then pool[1].weight = 3 end return 1"), 1);
  CHECK(tells("my.lua:2: select: views are read-only, what is yours belongs into the state"));
  CHECK(try_select(
            "if #pool > 1 then table.sort(pool, function(a, b) return a.id < b.id end) end return 1") >= 1);
  CHECK(tells("my.lua:2: select:"));
}

static void all_findings_are_listed(void) {
  unsigned n = try_callback(" retry = function() error('one') end,\n observe = function() error('two') end,\n"
                            " tick = function() error('three') end");
  CHECK_INT(n, 3);
  CHECK(tells("my.lua:2: retry: one"));
  CHECK(tells("my.lua:3: observe: two"));
  CHECK(tells("my.lua:4: tick: three"));
}

static void no_end_is_found_in_time(void) {
  CHECK(try_select("while true do pcall(function() while true do end end) end") >= 1);
  CHECK(tells("my.lua:2: select: the script takes too long and was stopped"));
  CHECK(try_select("if #pool == 0 then while true do end end return 1") >= 1);
  CHECK(tells("0 candidates"));
}

static void what_is_common_to_all_is_left_alone(void) {
  lb_abi_store_set("dry", 3, LB_STORE_NUMBER, 5, NULL, 0);
  double before = lb_abi_counter_add((uint32_t)lb_abi_counter_find("dry", 3), 0);
  CHECK_INT(try_script("local c = lb.counter('dry')\n"
                       "return { abi = 1, select = function() c:add(1) lb.shared.set('dry', 1)\n"
                       "  assert(lb.shared.get('dry') == 1) return 1 end,\n"
                       " init = function() assert(lb.shared.get('dry') == nil) end }"),
            0);
  struct lb_value value;
  CHECK_INT(lb_abi_store_get("dry", 3, &value), LB_STORE_NUMBER);
  CHECK(value.number == 5);
  CHECK(lb_abi_counter_add((uint32_t)lb_abi_counter_find("dry", 3), 0) == before);
}

static void names_of_counters_are_forgotten_with_the_trial(void) {
  /* As many as there can be; a trial that took them would leave none. */
  for (int i = 0; i < 3; i++)
    CHECK_INT(
        try_script(
            "local all = {}\n"
            "for i = 1, 900 do all[i] = lb.counter('dry-' .. i) end\n"
            "return { abi = 1, select = function() all[900]:add(2) assert(all[1]:get() == 0) return 1 end }"),
        0);
  char name[16];
  for (int i = 1; i <= 900; i++) {
    (void)snprintf(name, sizeof name, "wet-%d", i);
    CHECK(lb_abi_counter_find(name, (uint32_t)strlen(name)) >= 0);
  }
}

static void init_gets_what_went_before(void) {
  const char *script = "return { abi = 1, select = function() return 1 end,\n"
                       " init = function(_, _, previous) assert(previous.n == 5) end }";
  CHECK_INT(try_plan(plan_of(script), "return {n=5}"), 0);
  CHECK_INT(try_plan(plan_of(script), "return {n=6}"), 1);
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  buf_init(&report, CANARY_REPORT_MAX);
  RUN(every_preset_passes);
  RUN(a_good_script_passes);
  RUN(what_does_not_load_is_told);
  RUN(each_callback_is_run);
  RUN(edges_are_tried);
  RUN(writes_to_views_are_found);
  RUN(all_findings_are_listed);
  RUN(no_end_is_found_in_time);
  RUN(what_is_common_to_all_is_left_alone);
  RUN(names_of_counters_are_forgotten_with_the_trial);
  RUN(init_gets_what_went_before);
  buf_release(&report);
  guard_stop();
  return CHECK_END();
}
