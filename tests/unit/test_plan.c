#include "check.h"

#include "model/plan.h"

#include <stdlib.h>

static struct plan *plan_of(unsigned n, const char *const *ids, const char *const *models) {
  struct plan *p = plan_new();
  p->n_entries = n;
  p->entries = x_calloc(n, sizeof *p->entries);
  for (unsigned i = 0; i < n; i++) {
    p->entries[i].provider = provider_new(ids[i], PROVIDER_DIRECT, 0);
    if (models && models[i]) p->entries[i].model = x_strdup(models[i]);
  }
  return p;
}

static void route(struct plan *p, const char *name, unsigned slot) {
  p->routes = x_realloc(p->routes, (p->n_routes + 1) * sizeof *p->routes);
  struct model_route *r = &p->routes[p->n_routes++];
  memset(r, 0, sizeof *r);
  r->name = x_strdup(name);
  slot_add(&r->slots, slot);
}

/* The slots below 8 as bits, or -1 when nobody may. */
static int who(const struct plan *p, const char *model) {
  struct slot_set set;
  if (!plan_who_serves(p, &set, span_str(model))) return -1;
  return (int)set.w[0];
}

static const char *const abc[] = {"a", "b", "c"};

static void defaults_are_those_of_the_contract(void) {
  struct plan *p = plan_new();
  plan_seal(p);
  CHECK_STR(p->settings.host, strlen(p->settings.host), "0.0.0.0");
  CHECK_INT(p->settings.port, 3000);
  CHECK_INT(p->settings.max_retries, 3);
  CHECK_INT(p->settings.health_interval_ms, 30000);
  CHECK_INT(p->settings.session_timeout_ms, 1800000);
  CHECK_INT(p->settings.max_body_bytes, 33554432);
  CHECK_INT(p->settings.timeouts.connect, 5000);
  CHECK_INT(p->settings.timeouts.first_byte, 120000);
  CHECK_INT(p->settings.timeouts.client_idle, 75000);
  CHECK_INT(p->settings.health.eject_after, 3);
  CHECK_STR(p->strategy_name, strlen(p->strategy_name), "round-robin");
  CHECK(!p->settings.client_keys[0] && !p->settings.forward_headers[0] && !p->settings.cors_origins[0]);
  CHECK(!p->settings.strict_models && p->settings.reload_watch && p->settings.reload_canary);
  plan_unref(&p);
  CHECK(!p);
}

static void who_lists_a_model_serves_it_where_nothing_else_says_so(void) {
  static const char *const ids[] = {"a", "b", "c", "d"}, *const models[] = {NULL, NULL, "own", NULL};
  struct plan *p = plan_of(4, ids, models);
  route(p, "named", 2);
  plan_seal(p);
  CHECK(plan_has_open(p));
  CHECK_INT(who(p, "x"), 15);
  uint64_t version = provider_models_version();
  provider_set_models(p->entries[0].provider, SPAN("x\ny\nown\n"), true);
  provider_set_models(p->entries[1].provider, SPAN("y\nxx\nnamed"), true);
  CHECK(provider_models_version() == version + 2);
  provider_set_models(p->entries[1].provider, SPAN("y\nxx\nnamed"), true);
  CHECK(provider_models_version() == version + 2);
  CHECK_INT(who(p, "x"), 1 | 8); /* d has listed nothing: it may have it */
  CHECK_INT(who(p, "y"), 1 | 2 | 8);
  CHECK_INT(who(p, "xx"), 2 | 8);
  CHECK_INT(who(p, "z"), 15);
  CHECK_INT(who(p, "own"), 4);
  CHECK_INT(who(p, "named"), 4);
  CHECK_INT(who(p, ""), 15);
  provider_set_models(p->entries[1].provider, SPAN("y\nxx\nnamed"), false);
  CHECK(provider_models_version() == version + 3);
  CHECK_INT(who(p, "x"), 1 | 2 | 8); /* b lists more than was kept */
  provider_set_models(p->entries[1].provider, SPAN("y"), true);
  p->settings.strict_models = true;
  CHECK_INT(who(p, "x"), 1 | 8);
  CHECK_INT(who(p, "z"), -1);
  plan_unref(&p);
}

static void the_last_reference_frees_everything(void) {
  struct plan *p = plan_of(2, abc, NULL);
  struct provider *a = provider_ref(p->entries[0].provider);
  p->entries[0].api_key = x_strdup("secret");
  p->entries[0].health_path = x_strdup("/up");
  p->entries[0].has_endpoint = !endpoint_parse(&p->entries[0].endpoint, SPAN("http://h/v1"));
  p->settings.client_keys = x_calloc(3, sizeof(char *));
  p->settings.client_keys[0] = x_strdup("k1");
  p->settings.client_keys[1] = x_strdup("k2");
  p->settings.admin_token = x_strdup("t");
  p->config_path = x_strdup("x.lua");
  p->strategy_path = x_strdup("s.lua");
  p->strategy_source = span_str(x_strdup("return {}"));
  plan_seal(p);
  struct plan *second = plan_ref(p);
  plan_unref(&p);
  CHECK_INT(second->refs, 1);
  plan_unref(&second);
  CHECK_INT(a->refs, 1);
  provider_unref(&a);
}

static void no_model_or_an_unknown_one_may_be_served_by_everyone(void) {
  static const char *const models[] = {"m1", "m2", NULL};
  struct plan *p = plan_of(3, abc, models);
  plan_seal(p);
  CHECK_INT(who(p, ""), 7);
  CHECK_INT(who(p, "else"), 7);
  plan_unref(&p);
}

static void a_model_of_some_providers_is_served_by_those(void) {
  static const char *const models[] = {"m1", "m2", "m1"};
  struct plan *p = plan_of(3, abc, models);
  plan_seal(p);
  CHECK_INT(p->n_own, 2);
  CHECK_STR(p->own[0].name, 2, "m1");
  CHECK_STR(p->own[1].name, 2, "m2");
  CHECK_INT(who(p, "m1"), 5);
  CHECK_INT(who(p, "m2"), 2);
  CHECK_INT(who(p, "m"), 7);
  CHECK_INT(who(p, "M1"), 7);
  CHECK_INT(who(p, "m11"), 7);
  plan_unref(&p);
}

static void a_provider_without_a_model_steps_back_for_one_that_has_it(void) {
  static const char *const models[] = {NULL, "m2", NULL};
  struct plan *p = plan_of(3, abc, models);
  plan_seal(p);
  CHECK_INT(who(p, "m2"), 2);
  CHECK_INT(who(p, "m3"), 7);
  plan_unref(&p);
}

static void the_operators_names_come_first(void) {
  static const char *const models[] = {"gpt", "m2", "m3"};
  struct plan *p = plan_of(3, abc, models);
  route(p, "zeta", 2);
  route(p, "gpt", 1);
  route(p, "alpha", 0);
  route(p, "gpt", 2);
  plan_seal(p);
  CHECK_INT(p->n_routes, 3);
  CHECK_INT(who(p, "gpt"), 6);
  CHECK_INT(who(p, "alpha"), 1);
  CHECK_INT(who(p, "zeta"), 4);
  CHECK_INT(who(p, "m2"), 2);
  plan_unref(&p);
}

static void strict_models_refuse_unknown_names_only(void) {
  static const char *const models[] = {"m1", NULL, NULL};
  struct plan *p = plan_of(3, abc, models);
  p->settings.strict_models = true;
  route(p, "mapped", 1);
  plan_seal(p);
  CHECK_INT(who(p, "m1"), 1);
  CHECK_INT(who(p, "mapped"), 2);
  CHECK_INT(who(p, ""), 7);
  CHECK_INT(who(p, "else"), -1);
  plan_unref(&p);
}

static void a_model_name_may_hold_any_byte(void) {
  static const char *const models[] = {"m", NULL, NULL};
  struct plan *p = plan_of(3, abc, models);
  plan_seal(p);
  struct slot_set set;
  CHECK(plan_who_serves(p, &set, SPAN("m\0x")));
  CHECK_INT(set.w[0], 7);
  plan_unref(&p);
}

static void slots_reach_to_the_maximum(void) {
  struct plan *p = plan_new();
  p->n_entries = PLAN_PROVIDERS_MAX;
  p->entries = x_calloc(p->n_entries, sizeof *p->entries);
  for (unsigned i = 0; i < p->n_entries; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "p%u", i);
    p->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    p->entries[i].model = x_strdup(i % 2 ? "odd" : "even");
  }
  plan_seal(p);
  struct slot_set set;
  CHECK(plan_who_serves(p, &set, SPAN("odd")));
  CHECK(slot_has(&set, 255) && !slot_has(&set, 254) && slot_has(&p->all, 254));
  CHECK_INT(plan_find(p, SPAN("p255")), 255);
  plan_unref(&p);
}

static void find_knows_ids_and_addresses_in_any_case(void) {
  static const char *const ids[] = {"local", "0xABCDEFabcdefabcdefabcdefabcdefabcdefABCD"};
  struct plan *p = plan_of(2, ids, NULL);
  plan_seal(p);
  CHECK_INT(plan_find(p, SPAN("local")), 0);
  CHECK_INT(plan_find(p, SPAN("Local")), -1);
  CHECK_INT(plan_find(p, SPAN("0xabcdefabcdefabcdefabcdefabcdefabcdefabcd")), 1);
  CHECK_INT(plan_find(p, SPAN("")), -1);
  plan_unref(&p);
}

static void an_endpoint_comes_apart(void) {
  static const struct {
    const char *url, *text, *host, *authority, *path;
    int port, is_tls;
  } cases[] = {
      {"http://h", "http://h", "h", "h", "", 80, 0},
      {"https://h/", "https://h", "h", "h", "", 443, 1},
      {"HTTP://Example.COM:8000/v1/", "HTTP://Example.COM:8000/v1", "example.com", "example.com:8000", "/v1",
       8000, 0},
      {"https://h:443/a//", "https://h:443/a", "h", "h", "/a", 443, 1},
      {"https://h:80", "https://h:80", "h", "h:80", "", 80, 1},
      {"http://127.0.0.1:1/x%20y", "http://127.0.0.1:1/x%20y", "127.0.0.1", "127.0.0.1:1", "/x%20y", 1, 0},
      {"http://[::1]:65535/v1", "http://[::1]:65535/v1", "::1", "[::1]:65535", "/v1", 65535, 0},
      {"http://[FE80::A]", "http://[FE80::A]", "fe80::a", "[fe80::a]", "", 80, 0},
      {"http://h/.well/..a", "http://h/.well/..a", "h", "h", "/.well/..a", 80, 0},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct endpoint e;
    const char *wrong = endpoint_parse(&e, span_str(cases[i].url));
    CHECK(!wrong);
    CHECK_STR(e.text, strlen(e.text), cases[i].text);
    CHECK_STR(e.host, strlen(e.host), cases[i].host);
    CHECK_STR(e.authority, strlen(e.authority), cases[i].authority);
    CHECK_STR(e.path, strlen(e.path), cases[i].path);
    CHECK_INT(e.port, cases[i].port);
    CHECK_INT(e.is_tls, cases[i].is_tls);
    endpoint_release(&e);
  }
}

static void what_is_no_endpoint_is_refused(void) {
  static const char *const cases[] = {
      "",
      "h",
      "ftp://h",
      "http:/h",
      "http://",
      "https:///v1",
      "http:///",
      "http://:80",
      "http://h:",
      "http://h:0",
      "http://h:65536",
      "http://h:+1",
      "http://h:8 0",
      "http://u@h",
      "http://u:p@h/",
      "http://h?q",
      "http://h/?",
      "http://h/a#f",
      "http://h/a b",
      "http://h/\x80",
      "http://h h/",
      "http://h\\v1",
      "http://.h",
      "http://a..b",
      "http://[::1",
      "http://[]",
      "http://[g::]",
      "http://[::1]x",
      "http://[::1%25eth0]",
      "http://h/a/../b",
      "http://h/.",
      "http://h/..",
      "http://h/%",
      "http://h/%zz",
      "http://h/a\r\nX: y",
      "http://h\r\n",
      "http://h/a\"b",
      " http://h",
      "http://\xc3\xa4",
      "http://h:80:80",
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct endpoint e;
    const char *wrong = endpoint_parse(&e, span_str(cases[i]));
    if (!wrong) printf("# accepted: %s\n", cases[i]);
    CHECK(wrong);
    CHECK(!e.text && !e.host && !e.path && !e.authority);
    endpoint_release(&e);
  }
  struct endpoint e;
  CHECK(endpoint_parse(&e, SPAN("http://h/a\0b")));
  char text[4096];
  memset(text, 'a', sizeof text);
  memcpy(text, "http://", 7);
  CHECK(endpoint_parse(&e, span_make(text, 7 + 254)));
  CHECK(!endpoint_parse(&e, span_make(text, 7 + 253)));
  endpoint_release(&e);
  CHECK(endpoint_parse(&e, span_make(text, sizeof text)));
}

/* The slots below 8 as bits. */
static int candidates(const struct plan *p, int serves, int tried) {
  struct slot_set from = {{(uint64_t)serves}}, without = {{(uint64_t)tried}};
  uint16_t out[PLAN_PROVIDERS_MAX];
  unsigned n = plan_candidates(p, out, &from, &without, 1000);
  int bits = 0;
  for (unsigned i = 0; i < n; i++) {
    if (i) CHECK(out[i] > out[i - 1]);
    bits |= 1 << out[i];
  }
  return bits;
}

static void candidates_serve_the_model_were_not_tried_and_are_free(void) {
  struct plan *p = plan_of(3, abc, NULL);
  plan_seal(p);
  CHECK_INT(candidates(p, 7, 0), 7);
  CHECK_INT(candidates(p, 5, 0), 5);
  CHECK_INT(candidates(p, 7, 2), 5);
  CHECK_INT(candidates(p, 3, 3), 0);
  provider_switch(p->entries[2].provider, PROVIDER_DISABLED);
  CHECK_INT(candidates(p, 7, 0), 3);
  p->entries[0].provider->state = PROVIDER_DOWN;
  CHECK_INT(candidates(p, 7, 0), 2);
  plan_unref(&p);
}

static void when_nobody_is_free_the_unhealthy_are_candidates_unless_panic_is_refused(void) {
  struct plan *p = plan_of(3, abc, NULL);
  plan_seal(p);
  p->entries[0].provider->state = p->entries[1].provider->state = PROVIDER_DOWN;
  provider_switch(p->entries[2].provider, PROVIDER_DISABLED);
  CHECK_INT(candidates(p, 7, 0), 3);
  CHECK_INT(candidates(p, 7, 1), 2);
  CHECK_INT(candidates(p, 4, 0), 0);
  p->settings.panic_refuse = true;
  CHECK_INT(candidates(p, 7, 0), 0);
  plan_unref(&p);
}

static void slots_of_every_word_are_candidates(void) {
  struct plan *p = plan_new();
  p->n_entries = PLAN_PROVIDERS_MAX;
  p->entries = x_calloc(PLAN_PROVIDERS_MAX, sizeof *p->entries);
  for (unsigned i = 0; i < PLAN_PROVIDERS_MAX; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "p%u", i);
    p->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
  }
  plan_seal(p);
  struct slot_set none = {{0}};
  uint16_t out[PLAN_PROVIDERS_MAX];
  CHECK_INT(plan_candidates(p, out, &p->all, &none, 0), PLAN_PROVIDERS_MAX);
  for (unsigned i = 0; i < PLAN_PROVIDERS_MAX; i++)
    CHECK_INT(out[i], i);
  plan_unref(&p);
}

static void retries_are_a_share_of_the_active_requests_with_a_floor(void) {
  struct settings s = {.retry_budget = 0.2, .retry_budget_min = 3};
  CHECK(settings_retry_limit(&s, 0) == 3);
  CHECK(settings_retry_limit(&s, 10) == 3);
  CHECK(settings_retry_limit(&s, 100) == 20);
}

int main(void) {
  RUN(defaults_are_those_of_the_contract);
  RUN(who_lists_a_model_serves_it_where_nothing_else_says_so);
  RUN(the_last_reference_frees_everything);
  RUN(no_model_or_an_unknown_one_may_be_served_by_everyone);
  RUN(a_model_of_some_providers_is_served_by_those);
  RUN(a_provider_without_a_model_steps_back_for_one_that_has_it);
  RUN(the_operators_names_come_first);
  RUN(strict_models_refuse_unknown_names_only);
  RUN(a_model_name_may_hold_any_byte);
  RUN(slots_reach_to_the_maximum);
  RUN(find_knows_ids_and_addresses_in_any_case);
  RUN(an_endpoint_comes_apart);
  RUN(what_is_no_endpoint_is_refused);
  RUN(candidates_serve_the_model_were_not_tried_and_are_free);
  RUN(when_nobody_is_free_the_unhealthy_are_candidates_unless_panic_is_refused);
  RUN(slots_of_every_word_are_candidates);
  RUN(retries_are_a_share_of_the_active_requests_with_a_floor);
  return CHECK_END();
}
