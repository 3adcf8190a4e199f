#include "check.h"

#include "base/redact.h"
#include "model/plan.h"

#include <math.h>
#include <stdlib.h>

static struct registry *registry;

static struct address address_of(unsigned n) {
  struct address a = ADDRESS_ZERO;
  a.bytes[0] = 0xab;
  a.bytes[19] = (uint8_t)n;
  return a;
}

static const char *id_of(unsigned n) {
  static char text[ADDRESS_TEXT_LEN + 1];
  struct address a = address_of(n);
  address_text(text, &a);
  return text;
}

static struct service service_of(unsigned n, const char *model, uint64_t price) {
  return (struct service){
      .provider = address_of(n),
      .service_type = SPAN("chatbot"),
      .url = SPAN("http://p.example:3080/"),
      .input_price = u256_of(price),
      .output_price = u256_of(2 * price),
      .model = span_str(model),
      .verifiability = SPAN("TeeML"),
      .tee_signer = address_of(200),
      .tee_signer_acknowledged = true,
  };
}

static bool put(struct service s) {
  return registry_put_record(registry, record_new(&s));
}

/* A plan with these configured providers on chain and one direct one in front of them. */
static struct plan *plan_of(unsigned n, const unsigned *numbers) {
  struct plan *p = plan_new();
  p->n_entries = n + 1;
  p->entries = x_calloc(n + 1, sizeof *p->entries);
  p->entries[0].provider = registry_get(registry, "direct", PROVIDER_DIRECT, 0);
  for (unsigned i = 0; i < n; i++)
    p->entries[i + 1].provider = registry_get(registry, id_of(numbers[i]), PROVIDER_ONCHAIN, 0);
  return p;
}

static struct plan_discover *discover(struct plan *p) {
  p->discovers = x_realloc(p->discovers, (p->n_discovers + 1) * sizeof *p->discovers);
  struct plan_discover *d = &p->discovers[p->n_discovers++];
  *d = (struct plan_discover){.weight = 3};
  return d;
}

static void finish(struct plan *p) {
  plan_resolve(p, registry);
  plan_seal(p);
}

static void open_registry(void) {
  registry = registry_new();
}

static void close_all(struct plan *p) {
  plan_unref(&p);
  registry_free(registry);
}

static void a_record_gives_endpoint_model_and_price(void) {
  open_registry();
  CHECK(put(service_of(1, "llama", 50)));
  struct plan *p = plan_of(2, (unsigned[]){1, 2});
  finish(p);
  const struct plan_entry *e = &p->entries[1];
  CHECK(e->record && e->service == &e->record->service);
  CHECK_STR(e->endpoint.text, strlen(e->endpoint.text), "http://p.example:3080/v1/proxy");
  CHECK_STR(e->service_url, strlen(e->service_url), "http://p.example:3080");
  CHECK_STR(e->model, strlen(e->model), "llama");
  CHECK(e->has_price && e->price_in == 50 && e->price_out == 100);
  CHECK(!p->entries[2].record && !p->entries[2].has_endpoint && !p->entries[2].has_price);
  CHECK(!p->entries[0].record && !p->entries[0].service_url);
  struct slot_set set;
  CHECK(plan_who_serves(p, &set, SPAN("llama")) && set.w[0] == 2);
  close_all(p);
}

static bool does(const struct plan *p, enum plan_work work, uint64_t who) {
  struct slot_set set = p->all;
  return plan_keep_who_does(p, &set, work) == (who != 0) && set.w[0] == who;
}

static void a_service_does_the_work_of_its_type(void) {
  static const char *const types[] = {"chatbot", "text-to-image", "speech-to-text", "video-generation"};
  open_registry();
  for (unsigned i = 0; i < 4; i++) {
    struct service s = service_of(i + 1, "llama", 50);
    s.service_type = span_str(types[i]);
    CHECK(put(s));
  }
  struct plan *p = plan_of(4, (unsigned[]){1, 2, 3, 4});
  finish(p);
  /* The first is a direct one; of a type that nobody knows here nothing is held against it. */
  CHECK(does(p, WORK_CHAT, 0x13));
  CHECK(does(p, WORK_IMAGES, 0x15));
  CHECK(does(p, WORK_TRANSCRIPTION, 0x19));
  CHECK(does(p, WORK_IMAGE_EDITS, 0x11));
  CHECK(does(p, WORK_EMBEDDINGS, 0x11));
  CHECK(does(p, WORK_SPEECH, 0x11));
  struct slot_set images = {{0x4}};
  CHECK(!plan_keep_who_does(p, &images, WORK_CHAT));
  close_all(p);
}

static void what_the_configuration_says_wins(void) {
  open_registry();
  (void)put(service_of(1, "llama", 50));
  struct plan *p = plan_of(1, (unsigned[]){1});
  p->entries[1].model = x_strdup("mine");
  p->entries[1].has_endpoint = !endpoint_parse(&p->entries[1].endpoint, SPAN("http://tunnel:1/v1/proxy/"));
  finish(p);
  struct plan *next = plan_derive(p, registry);
  CHECK_STR(next->entries[1].model, strlen(next->entries[1].model), "mine");
  CHECK_STR(next->entries[1].endpoint.text, strlen(next->entries[1].endpoint.text),
            "http://tunnel:1/v1/proxy");
  CHECK_STR(next->entries[1].service_url, strlen(next->entries[1].service_url), "http://tunnel:1");
  CHECK(!next->entries[1].is_endpoint_of_record && !next->entries[1].is_model_of_record &&
        next->entries[1].has_price);
  plan_unref(&next);
  close_all(p);
}

static void a_changed_record_makes_a_plan_outdated(void) {
  open_registry();
  struct plan *p = plan_of(1, (unsigned[]){1});
  p->settings.admin_token = x_strdup("token");
  p->entries[0].api_key = x_strdup("key");
  p->entries[1].weight = 4;
  finish(p);
  CHECK(!plan_is_outdated(p, registry));
  CHECK(put(service_of(1, "llama", 50)) && plan_is_outdated(p, registry));
  struct plan *next = plan_derive(p, registry);
  CHECK(!plan_is_outdated(next, registry));
  CHECK(!put(service_of(1, "llama", 50)) && !plan_is_outdated(next, registry));

  struct service moved = service_of(1, "llama", 50);
  moved.url = SPAN("https://elsewhere.example");
  CHECK(put(moved) && plan_is_outdated(next, registry));
  struct plan *third = plan_derive(next, registry);
  CHECK_STR(third->entries[1].endpoint.text, strlen(third->entries[1].endpoint.text),
            "https://elsewhere.example/v1/proxy");
  /* The plan that a request began with has not changed. */
  CHECK_STR(next->entries[1].endpoint.text, strlen(next->entries[1].endpoint.text),
            "http://p.example:3080/v1/proxy");
  CHECK(third->entries[1].provider == p->entries[1].provider && third->entries[1].weight == 4);
  CHECK_STR(third->settings.admin_token, 5, "token");
  CHECK_STR(third->entries[0].api_key, 3, "key");

  struct address one = address_of(1);
  CHECK(registry_drop_record(registry, &one) && !registry_drop_record(registry, &one));
  CHECK(plan_is_outdated(third, registry));
  struct plan *last = plan_derive(third, registry);
  CHECK(!last->entries[1].has_endpoint && !last->entries[1].model);
  plan_unref(&last);
  plan_unref(&third);
  plan_unref(&next);
  close_all(p);
}

static void only_what_matters_is_a_change(void) {
  open_registry();
  CHECK(put(service_of(1, "m", 5)));
  struct service s = service_of(1, "m", 5);
  s.updated_at = u256_of(7);
  CHECK(!put(s));
  s.input_price = u256_of(6);
  CHECK(put(s));
  s.tee_signer = address_of(201);
  CHECK(put(s));
  s.tee_signer_acknowledged = false;
  CHECK(put(s));
  s.additional_info = SPAN("{}");
  CHECK(put(s));
  s.verifiability = SPAN("");
  CHECK(put(s) && !put(s));
  close_all(NULL);
}

static void discover_adds_what_fits(void) {
  open_registry();
  (void)put(service_of(1, "llama", 50));
  (void)put(service_of(2, "llama", 90));
  (void)put(service_of(3, "qwen", 10));
  struct service unproved = service_of(4, "llama", 1);
  unproved.verifiability = SPAN("");
  (void)put(unproved);
  struct service images = service_of(5, "llama", 1);
  images.service_type = SPAN("text-to-image");
  (void)put(images);

  struct plan *p = plan_of(1, (unsigned[]){2});
  struct plan_discover *d = discover(p);
  d->model = x_strdup("llama");
  d->service_type = x_strdup("chatbot");
  d->is_verifiable = true;
  d->has_max_in = true;
  d->max_in = u256_of(90000000);
  p->n_routes = 1;
  p->routes = x_calloc(1, sizeof *p->routes);
  p->routes[0].name = x_strdup("alias");
  p->routes[0].found = x_calloc(2, sizeof(char *));
  p->routes[0].found[0] = x_strdup(id_of(1));
  finish(p);
  CHECK_INT(p->n_configured, 2);
  CHECK_INT(p->n_entries, 3); /* 2 is configured already, 3 to 5 do not fit */
  CHECK_STR(p->entries[2].provider->id, strlen(id_of(1)), id_of(1));
  CHECK(p->entries[2].weight == 3 && p->entries[2].has_endpoint);
  struct slot_set set;
  CHECK(plan_who_serves(p, &set, SPAN("alias")) && set.w[0] == 4);

  /* One that comes later is found, one that has become dear goes. */
  (void)put(service_of(6, "llama", 20));
  (void)put(service_of(1, "llama", 91));
  struct plan *next = plan_derive(p, registry);
  CHECK_INT(next->n_entries, 3);
  CHECK_STR(next->entries[2].provider->id, strlen(id_of(6)), id_of(6));
  CHECK(plan_who_serves(next, &set, SPAN("alias")) && set.w[0] == 0);
  plan_unref(&next);
  close_all(p);
}

static void discover_keeps_to_its_limit_and_to_the_plans(void) {
  open_registry();
  for (unsigned i = 0; i < 255; i++)
    (void)put(service_of(i, "m", 1));
  struct plan *p = plan_of(0, NULL);
  discover(p)->limit = 7;
  finish(p);
  CHECK_INT(p->n_entries, 8);
  plan_unref(&p);
  p = plan_of(3, (unsigned[]){0, 1, 2});
  (void)discover(p);
  (void)discover(p);
  finish(p);
  CHECK_INT(p->n_entries, 256);
  close_all(p);
}

static void a_url_that_cannot_be_used_gives_no_endpoint(void) {
  static const char *const urls[] = {"",          "ftp://x",    "http://",    "http://a/b?c",
                                     "not a url", "http://a b", "file:///etc"};
  for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
    open_registry();
    struct service s = service_of(1, i % 2 ? "with\nline" : "", 1);
    s.url = span_str(urls[i]);
    (void)put(s);
    struct plan *p = plan_of(1, (unsigned[]){1});
    finish(p);
    CHECK(p->entries[1].record && !p->entries[1].has_endpoint && !p->entries[1].service_url &&
          !p->entries[1].model);
    close_all(p);
  }
}

static void a_url_into_a_private_network_gives_no_endpoint_unless_that_is_allowed(void) {
  for (unsigned is_allowed = 0; is_allowed < 2; is_allowed++) {
    open_registry();
    struct service s = service_of(1, "m", 1);
    s.url = SPAN("http://10.0.0.1:3080");
    (void)put(s);
    struct plan *p = plan_of(1, (unsigned[]){1});
    p->settings.chain.takes_private = is_allowed;
    finish(p);
    CHECK(p->entries[1].has_endpoint == is_allowed && p->entries[1].is_private_url == !is_allowed);
    CHECK(p->entries[1].is_public_only == !is_allowed);
    close_all(p);
  }
}

static void records_of_any_size_are_bounded(void) {
  static char big[RECORD_TEXT_MAX + 1];
  memset(big, 'x', sizeof big);
  struct service s = service_of(1, "m", 1);
  s.additional_info = span_make(big, sizeof big);
  CHECK(!record_new(&s));
  s.additional_info.len = 4096;
  struct record *r = record_new(&s);
  CHECK(r && r->service.additional_info.len == 4096 && r->service.additional_info.ptr != big);
  CHECK(record_is_verifiable(r) && !record_eq(r, NULL) && record_eq(NULL, NULL));
  record_unref(&r);
  CHECK(!r);
}

/* ---- session tokens ---- */

static void a_token_is_copied_out_and_replaced(void) {
  struct provider *p = provider_new(id_of(1), PROVIDER_ONCHAIN, 0);
  char copy[PROVIDER_TOKEN_MAX];
  uint64_t serial, before;
  CHECK_INT(provider_copy_token(p, copy, &before), 0);
  provider_set_token(p, SPAN("app-sk-one"), 5000);
  CHECK_STR(copy, provider_copy_token(p, copy, &serial), "app-sk-one");
  CHECK(serial == before + 1 && p->token_expires_wall_ms == 5000);
  provider_set_token(p, SPAN("app-sk-2"), 6000);
  CHECK_STR(copy, provider_copy_token(p, copy, &serial), "app-sk-2");
  CHECK(!memchr(p->token, 'e', sizeof p->token)); /* nothing of the longer one is left */
  CHECK(redact_finds(SPAN("x app-sk-one")) && redact_finds(SPAN("app-sk-2")));
  provider_set_token(p, SPAN_NONE, 7000);
  CHECK_INT(provider_copy_token(p, copy, &serial), 0);
  CHECK_INT(p->token_expires_wall_ms, 0);
  CHECK(!redact_finds(SPAN("x app-sk-one")) && redact_finds(SPAN("app-sk-2")));
  provider_unref(&p);
  CHECK(!redact_finds(SPAN("app-sk-2")));
  redact_forget_all();
}

static void the_end_of_account_trouble_ends_its_pause_alone(void) {
  struct provider *p = provider_new(id_of(1), PROVIDER_ONCHAIN, 0);
  struct outcome o = {.class = OUTCOME_AUTH, .status = 400};
  provider_begin(p);
  (void)provider_settle(p, &o, &HEALTH_RULES_DEFAULT, 1000);
  CHECK(provider_barred(p, 1001) == PROVIDER_BARRED_COOLDOWN);
  provider_end_account_pause(p, 1001);
  CHECK(provider_barred(p, 1001) == PROVIDER_IS_FREE);
  o = (struct outcome){.class = OUTCOME_RATE_LIMITED, .status = 429, .retry_after_ms = 9000};
  provider_begin(p);
  (void)provider_settle(p, &o, &HEALTH_RULES_DEFAULT, 2000);
  provider_end_account_pause(p, 2001);
  CHECK(provider_barred(p, 2001) == PROVIDER_BARRED_COOLDOWN && provider_free_in_ms(p, 2001) == 8999);
  provider_unref(&p);
}

int main(void) {
  RUN(a_record_gives_endpoint_model_and_price);
  RUN(a_service_does_the_work_of_its_type);
  RUN(what_the_configuration_says_wins);
  RUN(a_changed_record_makes_a_plan_outdated);
  RUN(only_what_matters_is_a_change);
  RUN(discover_adds_what_fits);
  RUN(discover_keeps_to_its_limit_and_to_the_plans);
  RUN(a_url_that_cannot_be_used_gives_no_endpoint);
  RUN(a_url_into_a_private_network_gives_no_endpoint_unless_that_is_allowed);
  RUN(records_of_any_size_are_bounded);
  RUN(a_token_is_copied_out_and_replaced);
  RUN(the_end_of_account_trouble_ends_its_pause_alone);
  return CHECK_END();
}
