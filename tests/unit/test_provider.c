#include "check.h"

#include "base/clock.h"
#include "model/provider.h"

#include <math.h>
#include <stdlib.h>

static const struct health_rules *const rules = &HEALTH_RULES_DEFAULT;

static struct outcome outcome_make(enum outcome_class class) {
  return (struct outcome){
      .class = class, .connect_ms = NAN, .ttft_ms = NAN, .total_ms = NAN, .tokens_in = -1, .tokens_out = -1};
}

static enum health_event attempt(struct provider *p, enum outcome_class class, uint64_t now_ms) {
  struct outcome o = outcome_make(class);
  provider_begin(p);
  return provider_settle(p, &o, rules, now_ms);
}

static enum health_event answer(struct provider *p, double ttft_ms, double total_ms, int64_t tokens,
                                uint64_t now_ms) {
  struct outcome o = outcome_make(OUTCOME_OK);
  o.status = 200;
  o.ttft_ms = ttft_ms;
  o.total_ms = total_ms;
  o.tokens_in = 10;
  o.tokens_out = tokens;
  provider_begin(p);
  return provider_settle(p, &o, rules, now_ms);
}

static enum health_event rate_limit(struct provider *p, uint32_t retry_after_ms, uint64_t now_ms) {
  struct outcome o = outcome_make(OUTCOME_RATE_LIMITED);
  o.status = 429;
  o.retry_after_ms = retry_after_ms;
  provider_begin(p);
  return provider_settle(p, &o, rules, now_ms);
}

static bool near(double a, double b) {
  return fabs(a - b) < 1e-9;
}

static void a_new_provider_is_a_candidate(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 7);
  CHECK_STR(p->id, strlen(p->id), "a");
  CHECK_INT(provider_barred(p, 7), PROVIDER_IS_FREE);
  CHECK(provider_is_healthy(p, 7));
  CHECK(isnan(p->latency_ms) && isnan(p->ttft_ms) && isnan(p->tpot_ms) && isnan(p->peak_ttft_ms));
  struct provider_rest rest;
  provider_read_limits(p, &rest);
  CHECK(isnan(rest.requests_left) && isnan(rest.tokens_left) && isnan(rest.reset_ms));
  CHECK_INT(p->state_since_ms, 7);
  CHECK_INT((uintptr_t)&p->in_flight % CACHE_LINE, 0);
  provider_unref(&p);
  CHECK(!p);
}

static void in_flight_rises_and_falls_once_per_attempt(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  provider_begin(p);
  provider_begin(p);
  CHECK_INT(p->in_flight, 2);
  struct outcome o = outcome_make(OUTCOME_CLIENT_CLOSED);
  CHECK_INT(provider_settle(p, &o, rules, 0), HEALTH_SAME);
  CHECK_INT(p->in_flight, 1);
  o.class = OUTCOME_OK;
  CHECK_INT(provider_settle(p, &o, rules, 0), HEALTH_SAME);
  CHECK_INT(p->in_flight, 0);
  CHECK_INT(p->dispatched, 2);
  CHECK_INT(p->counters.by_class[OUTCOME_OK], 1);
  CHECK_INT(p->counters.by_class[OUTCOME_CLIENT_CLOSED], 1);
  CHECK_INT(p->last_class, OUTCOME_OK);
  provider_unref(&p);
}

static void averages_start_at_the_first_sample_and_follow(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)answer(p, 100, 300, 21, 0);
  CHECK(near(p->latency_ms, 300) && near(p->ttft_ms, 100) && near(p->tpot_ms, 10));
  (void)answer(p, 200, 400, 11, 0);
  CHECK(near(p->latency_ms, 310) && near(p->ttft_ms, 110) && near(p->tpot_ms, 11));
  CHECK_INT(p->samples, 2);
  CHECK_INT(p->counters.tokens_in, 20);
  CHECK_INT(p->counters.tokens_out, 32);
  provider_unref(&p);
}

static void an_answer_in_one_piece_says_nothing_about_token_times(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)answer(p, 500, 500.1, 100, 0);
  CHECK(isnan(p->tpot_ms));
  (void)answer(p, 500, 600, 1, 0);
  CHECK(isnan(p->tpot_ms));
  provider_unref(&p);
}

static void failures_are_no_latency_samples(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  struct outcome o = outcome_make(OUTCOME_SERVER);
  o.ttft_ms = o.total_ms = 1;
  provider_begin(p);
  (void)provider_settle(p, &o, rules, 0);
  CHECK(isnan(p->latency_ms) && isnan(p->ttft_ms));
  CHECK_INT(p->samples, 0);
  provider_unref(&p);
}

static void the_peak_jumps_up_and_decays_with_time(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)answer(p, 10, 20, 1, 0);
  (void)answer(p, 1000, 1100, 1, 0);
  CHECK(near(p->peak_ttft_ms, 1000));
  (void)answer(p, 10, 20, 1, 0);
  CHECK(near(p->peak_ttft_ms, 1000));
  (void)answer(p, 10, 20, 1, (uint64_t)PROVIDER_PEAK_TAU_MS);
  CHECK(near(p->peak_ttft_ms, 10 + 990 * exp(-1)));
  (void)answer(p, 10, 20, 1, 1000000);
  CHECK(fabs(p->peak_ttft_ms - 10) < 1e-3);
  provider_unref(&p);
}

static void rates_count_own_faults_and_throttling_apart(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)attempt(p, OUTCOME_SERVER, 0);
  CHECK(near(p->error_rate, 0.1) && near(p->throttle_rate, 0));
  (void)attempt(p, OUTCOME_CLIENT_CLOSED, 0);
  CHECK(near(p->error_rate, 0.1));
  (void)rate_limit(p, 0, 0);
  CHECK(near(p->error_rate, 0.09) && near(p->throttle_rate, 0.1));
  (void)attempt(p, OUTCOME_CLIENT_ERROR, 0);
  CHECK(near(p->error_rate, 0.081) && near(p->throttle_rate, 0.09));
  provider_unref(&p);
}

static void three_failures_in_a_row_eject(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(attempt(p, OUTCOME_SERVER, 0), HEALTH_SAME);
  CHECK_INT(attempt(p, OUTCOME_TIMEOUT_TTFT, 0), HEALTH_SAME);
  CHECK(provider_is_healthy(p, 0));
  CHECK_INT(attempt(p, OUTCOME_SERVER, 1000), HEALTH_EJECTED);
  CHECK(!provider_is_healthy(p, 1000));
  CHECK_INT(provider_barred(p, 5999), PROVIDER_BARRED_HEALTH);
  CHECK_INT(provider_free_in_ms(p, 2000), 4000);
  CHECK_INT(provider_barred(p, 6000), PROVIDER_IS_FREE);
  CHECK_INT(provider_free_in_ms(p, 6000), 0);
  char reason[PROVIDER_REASON_MAX];
  provider_copy_reason(p, reason, 5999);
  CHECK(strstr(reason, "3 failed attempts") && strstr(reason, "server"));
  provider_copy_reason(p, reason, 6000);
  CHECK_STR(reason, strlen(reason), "");
  provider_unref(&p);
}

static void a_success_in_between_keeps_it_in(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  for (int i = 0; i < 10; i++) {
    CHECK_INT(attempt(p, OUTCOME_CONNECT, 0), HEALTH_SAME);
    CHECK_INT(attempt(p, OUTCOME_CONNECT, 0), HEALTH_SAME);
    CHECK_INT(p->consecutive_failures, 2);
    CHECK_INT(attempt(p, OUTCOME_OK, 0), HEALTH_SAME);
    CHECK_INT(p->consecutive_failures, 0);
  }
  provider_unref(&p);
}

static void ejections_double_until_a_success(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  uint64_t now = 0, expected = 5000;
  (void)attempt(p, OUTCOME_SERVER, now);
  (void)attempt(p, OUTCOME_SERVER, now);
  for (int i = 0; i < 10; i++) {
    CHECK_INT(attempt(p, OUTCOME_SERVER, now), HEALTH_EJECTED);
    CHECK_INT(provider_free_in_ms(p, now), expected);
    now += expected;
    expected = expected * 2 < 300000 ? expected * 2 : 300000;
  }
  CHECK_INT(attempt(p, OUTCOME_OK, now), HEALTH_SAME);
  CHECK_INT(attempt(p, OUTCOME_SERVER, now), HEALTH_SAME);
  CHECK_INT(attempt(p, OUTCOME_SERVER, now), HEALTH_SAME);
  CHECK_INT(attempt(p, OUTCOME_SERVER, now), HEALTH_EJECTED);
  CHECK_INT(provider_free_in_ms(p, now), 5000);
  CHECK_INT(provider_sum(p->counters.ejections), 11);
  provider_unref(&p);
}

static void failures_during_an_ejection_do_not_prolong_it(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  for (int i = 0; i < 3; i++)
    (void)attempt(p, OUTCOME_SERVER, 0);
  for (int i = 0; i < 50; i++)
    CHECK_INT(attempt(p, OUTCOME_SERVER, 4000), HEALTH_SAME);
  CHECK_INT(provider_free_in_ms(p, 4000), 1000);
  provider_unref(&p);
}

static void eject_after_zero_never_ejects(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  struct health_rules lenient = HEALTH_RULES_DEFAULT;
  lenient.eject_after = 0;
  struct outcome o = outcome_make(OUTCOME_SERVER);
  for (int i = 0; i < 100; i++) {
    provider_begin(p);
    CHECK_INT(provider_settle(p, &o, &lenient, 0), HEALTH_SAME);
  }
  provider_unref(&p);
}

static void what_the_caller_did_counts_for_nothing(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)attempt(p, OUTCOME_SERVER, 0);
  (void)attempt(p, OUTCOME_SERVER, 0);
  for (int i = 0; i < 20; i++) {
    CHECK_INT(attempt(p, OUTCOME_CLIENT_ERROR, 0), HEALTH_SAME);
    CHECK_INT(attempt(p, OUTCOME_CONTENT_POLICY, 0), HEALTH_SAME);
    CHECK_INT(attempt(p, OUTCOME_CLIENT_CLOSED, 0), HEALTH_SAME);
  }
  CHECK_INT(p->consecutive_failures, 2);
  CHECK_INT(provider_barred(p, 0), PROVIDER_IS_FREE);
  provider_unref(&p);
}

static void a_rate_limit_pauses_for_what_was_asked(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(rate_limit(p, 2000, 100), HEALTH_COOLING);
  CHECK_INT(provider_barred(p, 2099), PROVIDER_BARRED_COOLDOWN);
  CHECK(provider_is_healthy(p, 2099));
  CHECK_INT(provider_barred(p, 2100), PROVIDER_IS_FREE);
  CHECK_INT(rate_limit(p, 0, 3000), HEALTH_COOLING);
  CHECK_INT(provider_free_in_ms(p, 3000), 1000);
  CHECK_INT(rate_limit(p, UINT32_MAX, 10000), HEALTH_COOLING);
  CHECK_INT(provider_free_in_ms(p, 10000), 3600000);
  CHECK_INT(provider_sum(p->counters.cooldowns), 3);
  provider_unref(&p);
}

static void a_pause_only_grows_and_is_news_once(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(rate_limit(p, 5000, 0), HEALTH_COOLING);
  CHECK_INT(rate_limit(p, 1000, 0), HEALTH_SAME);
  CHECK_INT(provider_free_in_ms(p, 0), 5000);
  CHECK_INT(rate_limit(p, 9000, 0), HEALTH_SAME);
  CHECK_INT(provider_free_in_ms(p, 0), 9000);
  CHECK_INT(p->counters.cooldowns[OUTCOME_RATE_LIMITED], 1);
  provider_unref(&p);
}

static void an_overload_pauses_for_what_was_asked_and_counts_as_failure(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  struct outcome o = outcome_make(OUTCOME_OVERLOADED);
  o.retry_after_ms = 2000;
  provider_begin(p);
  CHECK_INT(provider_settle(p, &o, rules, 100), HEALTH_COOLING);
  CHECK_INT(p->consecutive_failures, 1);
  CHECK_INT(provider_barred(p, 2099), PROVIDER_BARRED_COOLDOWN);
  CHECK_INT(provider_barred_in_panic(p, 2099), PROVIDER_IS_FREE);
  CHECK_INT(provider_barred(p, 2100), PROVIDER_IS_FREE);
  CHECK_INT(attempt(p, OUTCOME_OVERLOADED, 3000), HEALTH_SAME);
  CHECK_INT(provider_barred(p, 3000), PROVIDER_IS_FREE);
  CHECK_INT(attempt(p, OUTCOME_OVERLOADED, 3000), HEALTH_EJECTED);
  provider_unref(&p);
}

static void limits_hold_until_they_are_full_again(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  struct provider_rest rest;
  clock_fake_set(5000000, 0);
  provider_note_limits(p, &(struct limits){.requests = {0, 2000}, .tokens = {70, NAN}});
  clock_fake_advance_ms(500);
  provider_read_limits(p, &rest);
  CHECK(rest.requests_left == 0 && rest.tokens_left == 70 && rest.reset_ms == 1500);
  provider_note_limits(p, &(struct limits){.requests = {NAN, NAN}, .tokens = {NAN, NAN}});
  clock_fake_advance_ms(1500);
  provider_read_limits(p, &rest);
  CHECK(isnan(rest.requests_left) && rest.tokens_left == 70 && isnan(rest.reset_ms));
  clock_fake_advance_ms(58000);
  provider_read_limits(p, &rest);
  CHECK(isnan(rest.tokens_left));
  clock_fake_off();
  provider_unref(&p);
}

static void account_trouble_pauses_for_a_minute(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(attempt(p, OUTCOME_EXHAUSTED, 0), HEALTH_COOLING);
  CHECK_INT(provider_free_in_ms(p, 0), 60000);
  CHECK_INT(attempt(p, OUTCOME_AUTH, 60000), HEALTH_COOLING);
  CHECK_INT(provider_free_in_ms(p, 60000), 60000);
  CHECK_INT(p->consecutive_failures, 0);
  provider_unref(&p);
}

static void the_first_probe_decides_at_once(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(provider_probed(p, false, "connect: refused", rules, 5, 1000), HEALTH_WENT_DOWN);
  CHECK_INT(provider_barred(p, 5), PROVIDER_BARRED_HEALTH);
  CHECK(!provider_is_healthy(p, 5));
  CHECK_INT(p->last_probe_wall_ms, 1000);
  CHECK_INT(p->state_since_ms, 5);
  char reason[PROVIDER_REASON_MAX];
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "connect: refused");
  CHECK_INT(provider_probed(p, true, NULL, rules, 6, 1001), HEALTH_CAME_UP);
  CHECK_INT(provider_barred(p, 6), PROVIDER_IS_FREE);
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "");
  CHECK_INT(p->counters.probes_ok, 1);
  CHECK_INT(p->counters.probes_failed, 1);
  provider_unref(&p);
}

static void later_probes_need_two_failures_and_one_pass(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, false, "x", rules, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, false, "x", rules, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, false, "x", rules, 0, 1), HEALTH_WENT_DOWN);
  CHECK_INT(provider_probed(p, false, "y", rules, 0, 1), HEALTH_SAME);
  char reason[PROVIDER_REASON_MAX];
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "y");
  CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_CAME_UP);
  CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_SAME);
  provider_unref(&p);
}

static void a_higher_rise_needs_passes_in_a_row(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  struct health_rules r = HEALTH_RULES_DEFAULT;
  r.rise = 3;
  CHECK_INT(provider_probed(p, false, "x", &r, 0, 1), HEALTH_WENT_DOWN);
  CHECK_INT(provider_probed(p, true, NULL, &r, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, true, NULL, &r, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, false, "x", &r, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, true, NULL, &r, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, true, NULL, &r, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_probed(p, true, NULL, &r, 0, 1), HEALTH_CAME_UP);
  provider_unref(&p);
}

static void a_passing_probe_ends_an_ejection_for_want_of_a_connection(void) {
  static const enum outcome_class ends[] = {OUTCOME_CONNECT, OUTCOME_DNS, OUTCOME_TLS,
                                            OUTCOME_TIMEOUT_CONNECT};
  for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
    struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
    for (int k = 0; k < 3; k++)
      (void)attempt(p, ends[i], 0);
    CHECK(!provider_is_healthy(p, 0));
    CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_CAME_UP);
    CHECK_INT(provider_barred(p, 0), PROVIDER_IS_FREE);
    /* It has not proved itself yet. */
    CHECK_INT(attempt(p, ends[i], 0), HEALTH_EJECTED);
    CHECK_INT(provider_free_in_ms(p, 0), 10000);
    provider_unref(&p);
  }
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  for (int k = 0; k < 3; k++)
    (void)attempt(p, OUTCOME_SERVER, 0);
  CHECK_INT(provider_probed(p, true, NULL, rules, 0, 1), HEALTH_SAME);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_HEALTH);
  provider_unref(&p);
}

static void bars_have_an_order(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)provider_probed(p, false, "x", rules, 0, 1);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_HEALTH);
  (void)rate_limit(p, 1000, 0);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_COOLDOWN);
  provider_set_init(p, "no account");
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_INIT);
  provider_switch(p, PROVIDER_DRAINING);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_ADMIN);
  provider_switch(p, PROVIDER_DISABLED);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_ADMIN);
  provider_switch(p, PROVIDER_ENABLED);
  provider_set_init(p, NULL);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_COOLDOWN);
  CHECK_INT(provider_barred(p, 1000), PROVIDER_BARRED_HEALTH);
  provider_unref(&p);
}

static void in_panic_only_what_nobody_may_pass_over_counts(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  (void)provider_probed(p, false, "x", rules, 0, 1);
  for (int i = 0; i < 3; i++)
    (void)attempt(p, OUTCOME_SERVER, 0);
  (void)attempt(p, OUTCOME_EXHAUSTED, 0);
  CHECK_INT(provider_barred(p, 0), PROVIDER_BARRED_COOLDOWN);
  CHECK_INT(provider_barred_in_panic(p, 0), PROVIDER_IS_FREE);
  /* A rate limit inside the longer pause for the account holds for its own time. */
  (void)rate_limit(p, 2000, 0);
  CHECK_INT(provider_barred_in_panic(p, 1999), PROVIDER_BARRED_COOLDOWN);
  CHECK_INT(provider_barred_in_panic(p, 2000), PROVIDER_IS_FREE);
  CHECK_INT(provider_barred(p, 2000), PROVIDER_BARRED_COOLDOWN);
  provider_set_init(p, "no account");
  CHECK_INT(provider_barred_in_panic(p, 2000), PROVIDER_BARRED_INIT);
  provider_switch(p, PROVIDER_DISABLED);
  CHECK_INT(provider_barred_in_panic(p, 2000), PROVIDER_BARRED_ADMIN);
  provider_unref(&p);
}

static void an_uninitialised_provider_keeps_its_reason(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  char reason[PROVIDER_REASON_MAX];
  provider_set_init(p, "no such service");
  CHECK(!provider_is_healthy(p, 0));
  (void)provider_probed(p, false, "refused", rules, 0, 1);
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "no such service");
  provider_set_init(p, "still none");
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "still none");
  provider_set_init(p, NULL);
  provider_copy_reason(p, reason, 10);
  CHECK_STR(reason, strlen(reason), "");
  provider_unref(&p);
}

static void a_long_reason_is_cut(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  char text[2 * PROVIDER_REASON_MAX], reason[PROVIDER_REASON_MAX];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = '\0';
  provider_set_init(p, text);
  provider_copy_reason(p, reason, 10);
  CHECK_INT(strlen(reason), PROVIDER_REASON_MAX - 1);
  provider_unref(&p);
}

static void names_are_known(void) {
  CHECK_STR(provider_state_name(PROVIDER_DEGRADED), 8, "degraded");
  CHECK_STR(provider_admin_name(PROVIDER_DRAINING), 8, "draining");
}

static void ids_compare_without_case_only_as_addresses(void) {
  struct span low = SPAN("0xabcdefabcdefabcdefabcdefabcdefabcdefabcd");
  struct span up = SPAN("0xABCDEFabcdefabcdefabcdefabcdefabcdefABCD");
  CHECK(provider_id_is_address(low) && provider_id_is_address(up));
  CHECK(!provider_id_is_address(SPAN("0xabcdefabcdefabcdefabcdefabcdefabcdefabcg")));
  CHECK(!provider_id_is_address(SPAN("0xabc")));
  CHECK(provider_id_eq(low, up));
  CHECK(!provider_id_eq(SPAN("local"), SPAN("Local")));
  CHECK(provider_id_eq(SPAN("local"), SPAN("local")));
}

static void the_registry_keeps_a_provider_by_id(void) {
  struct registry *r = registry_new();
  struct provider *a = registry_get(r, "a", PROVIDER_DIRECT, 0);
  struct provider *b = registry_get(r, "b", PROVIDER_DIRECT, 0);
  struct provider *again = registry_get(r, "a", PROVIDER_DIRECT, 1);
  CHECK(a == again && a != b);
  struct provider *up = registry_get(r, "0xABCDEFabcdefabcdefabcdefabcdefabcdefABCD", PROVIDER_ONCHAIN, 0);
  struct provider *low = registry_get(r, "0xabcdefabcdefabcdefabcdefabcdefabcdefabcd", PROVIDER_ONCHAIN, 0);
  CHECK(up == low);
  struct provider *other_kind = registry_get(r, "b", PROVIDER_ONCHAIN, 0);
  CHECK(other_kind != b);
  provider_unref(&a);
  provider_unref(&again);
  provider_unref(&b);
  provider_unref(&up);
  provider_unref(&low);
  registry_free(r);
  CHECK_STR(other_kind->id, 1, "b");
  provider_unref(&other_kind);
  registry_free(NULL);
}

static void the_registry_forgets_what_nobody_names(void) {
  struct registry *r = registry_new();
  struct provider *a = registry_get(r, "a", PROVIDER_DIRECT, 0);
  (void)attempt(a, OUTCOME_SERVER, 0);
  provider_unref(&a);
  a = registry_get(r, "a", PROVIDER_DIRECT, 0);
  CHECK_INT(a->dispatched, 1); /* named again before anything else was asked for */
  provider_unref(&a);
  struct provider *b = registry_get(r, "b", PROVIDER_DIRECT, 0);
  a = registry_get(r, "a", PROVIDER_DIRECT, 0);
  CHECK_INT(a->dispatched, 0);
  provider_unref(&a);
  provider_unref(&b);
  registry_free(r);
}

/* ---- several threads ---- */

#define THREADS  4
#define ATTEMPTS 5000

static void *work(void *arg) {
  struct provider *p = arg;
  for (int i = 0; i < ATTEMPTS; i++) {
    if (i % 7 == 0)
      (void)attempt(p, OUTCOME_CONNECT, (uint64_t)i);
    else if (i % 11 == 0)
      (void)rate_limit(p, 1, (uint64_t)i);
    else
      (void)answer(p, 5, 10, 3, (uint64_t)i);
    (void)provider_barred(p, (uint64_t)i);
    (void)provider_barred_in_panic(p, (uint64_t)i);
    if (i % 13 == 0) (void)provider_probed(p, i % 2, "x", rules, (uint64_t)i, 1);
    if (i % 101 == 0) provider_switch(p, (enum provider_admin)(i % 3));
    if (i % 103 == 0) {
      char reason[PROVIDER_REASON_MAX];
      provider_copy_reason(p, reason, 10);
    }
  }
  provider_unref(&p);
  return NULL;
}

static void counters_are_exact_across_threads(void) {
  struct provider *p = provider_new("a", PROVIDER_DIRECT, 0);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    CHECK(pthread_create(&threads[i], NULL, work, provider_ref(p)) == 0);
  for (int i = 0; i < THREADS; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK_INT(p->in_flight, 0);
  CHECK_INT(p->dispatched, THREADS * ATTEMPTS);
  uint64_t settled = 0;
  for (int c = 0; c < OUTCOME_N; c++)
    settled += p->counters.by_class[c];
  CHECK_INT(settled, THREADS * ATTEMPTS);
  CHECK(near(p->latency_ms, 10) && near(p->ttft_ms, 5));
  CHECK_INT(p->refs, 1);
  provider_unref(&p);
}

static void an_answer_that_does_not_verify_degrades_until_one_passes(void) {
  struct provider *p = provider_new("0xabc", PROVIDER_ONCHAIN, 0);
  char reason[PROVIDER_REASON_MAX];
  provider_verified(p, true, NULL, 1);
  CHECK_INT(p->state, PROVIDER_UP);
  provider_verified(p, false, "signed by another key", 2);
  CHECK_INT(p->state, PROVIDER_DEGRADED);
  CHECK_INT(provider_barred(p, 2), PROVIDER_IS_FREE);
  /* A passing probe says nothing about signatures. */
  (void)provider_probed(p, true, NULL, &HEALTH_RULES_DEFAULT, 3, 3);
  provider_copy_reason(p, reason, 10);
  CHECK(strstr(reason, "signed by another key"));
  CHECK_INT(p->state, PROVIDER_DEGRADED);
  provider_verified(p, true, NULL, 4);
  CHECK_INT(p->state, PROVIDER_UP);
  provider_copy_reason(p, reason, 10);
  CHECK_INT(reason[0], 0);
  CHECK_INT(p->counters.verify_ok, 2);
  CHECK_INT(p->counters.verify_fail, 1);
  provider_unref(&p);
}

static void a_failed_verification_does_not_lift_a_provider_that_is_down(void) {
  struct provider *p = provider_new("0xabc", PROVIDER_ONCHAIN, 0);
  (void)provider_probed(p, false, "gone", &HEALTH_RULES_DEFAULT, 1, 1);
  CHECK_INT(p->state, PROVIDER_DOWN);
  provider_verified(p, false, "x", 2);
  provider_verified(p, true, NULL, 3);
  CHECK_INT(p->state, PROVIDER_DOWN);
  provider_unref(&p);
}

int main(void) {
  RUN(an_answer_that_does_not_verify_degrades_until_one_passes);
  RUN(a_failed_verification_does_not_lift_a_provider_that_is_down);
  RUN(a_new_provider_is_a_candidate);
  RUN(in_flight_rises_and_falls_once_per_attempt);
  RUN(averages_start_at_the_first_sample_and_follow);
  RUN(an_answer_in_one_piece_says_nothing_about_token_times);
  RUN(failures_are_no_latency_samples);
  RUN(the_peak_jumps_up_and_decays_with_time);
  RUN(rates_count_own_faults_and_throttling_apart);
  RUN(three_failures_in_a_row_eject);
  RUN(a_success_in_between_keeps_it_in);
  RUN(ejections_double_until_a_success);
  RUN(failures_during_an_ejection_do_not_prolong_it);
  RUN(eject_after_zero_never_ejects);
  RUN(what_the_caller_did_counts_for_nothing);
  RUN(a_rate_limit_pauses_for_what_was_asked);
  RUN(a_pause_only_grows_and_is_news_once);
  RUN(an_overload_pauses_for_what_was_asked_and_counts_as_failure);
  RUN(limits_hold_until_they_are_full_again);
  RUN(account_trouble_pauses_for_a_minute);
  RUN(the_first_probe_decides_at_once);
  RUN(later_probes_need_two_failures_and_one_pass);
  RUN(a_higher_rise_needs_passes_in_a_row);
  RUN(a_passing_probe_ends_an_ejection_for_want_of_a_connection);
  RUN(bars_have_an_order);
  RUN(in_panic_only_what_nobody_may_pass_over_counts);
  RUN(an_uninitialised_provider_keeps_its_reason);
  RUN(a_long_reason_is_cut);
  RUN(names_are_known);
  RUN(ids_compare_without_case_only_as_addresses);
  RUN(the_registry_keeps_a_provider_by_id);
  RUN(the_registry_forgets_what_nobody_names);
  RUN(counters_are_exact_across_threads);
  return CHECK_END();
}
