#include "check.h"

#include "model/refusal.h"

#include "base/base.h"

#include <ctype.h>
#include <stdlib.h>

#define ID "0x1234567890123456789012345678901234567890"

static struct refusal of(int status, const char *body) {
  struct refusal r;
  refusal_read(&r, status, span_str(body), true);
  return r;
}

/* What brokers say, word by word, with what it has to lead to. */
static const struct {
  const char *text;
  enum refusal_kind kind;
  enum outcome_class class;
} said[] = {
    {"validate session: missing or invalid Authorization header, must be Bearer "
     "app-sk-\\u003cbase64(rawMessage:signature)\\u003e",
     REFUSAL_TOKEN, OUTCOME_AUTH},
    {"validate session: session token expired", REFUSAL_TOKEN_EXPIRED, OUTCOME_AUTH},
    {"validate session: session token has been revoked (generation expired)", REFUSAL_TOKEN, OUTCOME_AUTH},
    {"validate session: session token has been revoked", REFUSAL_TOKEN, OUTCOME_AUTH},
    {"validate session: signature verification failed: address mismatch", REFUSAL_TOKEN, OUTCOME_AUTH},
    {"validate session: invalid session token (future generation)", REFUSAL_TOKEN_AHEAD, OUTCOME_AUTH},
    {"validate session: session token is for different provider", REFUSAL_TOKEN_ELSEWHERE, OUTCOME_AUTH},
    {"validate request: session validation failed: session token expired", REFUSAL_TOKEN, OUTCOME_AUTH},
    {"validate request: get account from contract, account not exist: execution reverted", REFUSAL_NO_ACCOUNT,
     OUTCOME_EXHAUSTED},
    {"validate request: get account from contract: execution reverted", REFUSAL_NO_ACCOUNT,
     OUTCOME_EXHAUSTED},
    {"validate request: user not acknowledge the provider", REFUSAL_NOT_ACKNOWLEDGED, OUTCOME_EXHAUSTED},
    {"validate request: user not acknowledge the provider, please use acknowledgeProviderSigner function in "
     "sdk "
     "first, it will take effect in 2 minutes",
     REFUSAL_NOT_ACKNOWLEDGED, OUTCOME_EXHAUSTED},
    {"validate request: service not acknowledge the tee signer", REFUSAL_SIGNER, OUTCOME_EXHAUSTED},
    {"validate request: insufficient balance: your locked balance is 0.4 0G, but the required minimum is "
     "1.02 0G "
     "(breakdown: minimum reserve 1 0G + unsettled fees 0.02 0G + current request fee 0 0G). Please add more",
     REFUSAL_FUNDS, OUTCOME_EXHAUSTED},
    {"validate request: insufficient balance, total fee of 12 exceeds the available balance of 0",
     REFUSAL_FUNDS, OUTCOME_EXHAUSTED},
    {"validate request: get account from contract: dial tcp 10.0.0.1:8545: connect: connection refused",
     REFUSAL_BROKER, OUTCOME_SERVER},
    {"validate request: get service from context: timeout", REFUSAL_BROKER, OUTCOME_SERVER},
    {"validate request: calculate unsettled fee: Error 1040: Too many connections", REFUSAL_BROKER,
     OUTCOME_SERVER},
    {"validate request: nil lockBalance in account", REFUSAL_BROKER, OUTCOME_SERVER},
    {"create request: create request in db: Error 1040", REFUSAL_BROKER, OUTCOME_SERVER},
    {"get billing prices for request processing: no rate", REFUSAL_BROKER, OUTCOME_SERVER},
    {"prepare HTTP request: enforce configured model: model not supported: requested 'a', only 'b' is "
     "available "
     "for this service",
     REFUSAL_MODEL, OUTCOME_SERVER},
    /* The caller's own, and what nobody knows. */
    {"unsupported endpoint: endpoint not supported", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
    {"prepare HTTP request: unexpected end of JSON input", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
    {"read request body: unexpected EOF", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
    {"get text-to-image steps: invalid n", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
    {"validate request: something new", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
    {"messages[0]: 'validate session: session token expired' is no role", REFUSAL_OTHER,
     OUTCOME_CLIENT_ERROR},
    {"", REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
};

static void each_text_of_a_400_has_its_meaning_in_both_generations(void) {
  static const char *const prefixes[] = {"", "Provider proxy: handle proxied service, "};
  char body[512];
  for (size_t i = 0; i < ARRAY_LEN(said); i++) {
    for (size_t k = 0; k < ARRAY_LEN(prefixes); k++) {
      (void)snprintf(body, sizeof body, "{\"error\":\"%s%s\"}", prefixes[k], said[i].text);
      struct refusal r = of(400, body);
      CHECK_INT(r.kind, said[i].kind);
      CHECK_INT(r.class, said[i].class);
    }
  }
}

/* The same words in another case, and with more blanks between them. */
static void letter_case_and_blanks_decide_nothing(void) {
  for (size_t i = 0; i < ARRAY_LEN(said); i++) {
    char body[1200] = "{\"error\":\" ";
    size_t at = strlen(body);
    for (const char *c = said[i].text; *c; c++) {
      bool is_escape = *c == '\\';
      body[at++] = is_escape || c[-(c > said[i].text)] == '\\' ? *c : (char)toupper((unsigned char)*c);
      if (*c == ' ') body[at++] = ' ';
    }
    (void)snprintf(body + at, sizeof body - at, "\"}");
    CHECK_INT(of(400, body).kind, said[i].kind);
  }
}

static void an_expired_model_is_the_providers_when_its_record_named_it(void) {
  struct span body = SPAN("{\"error\":\"model \\\"m\\\" is no longer available (expired at 2026-06-01)\"}");
  struct refusal r;
  refusal_read(&r, 410, body, true);
  CHECK_INT(r.kind, REFUSAL_MODEL);
  CHECK_INT(r.class, OUTCOME_SERVER);
  refusal_read(&r, 410, body, false);
  CHECK_INT(r.kind, REFUSAL_OTHER);
  CHECK_INT(r.class, OUTCOME_CLIENT_ERROR);
}

static void a_text_far_behind_the_start_is_not_looked_for(void) {
  size_t len = 1u << 20;
  char *body = x_malloc(len);
  int n = snprintf(body, len, "{\"error\":\"validate request: ");
  memset(body + n, 'x', len - (size_t)n);
  memcpy(body + len - 40, "insufficient balance", 20);
  struct refusal r;
  refusal_read(&r, 400, span_make(body, len), true);
  CHECK_INT(r.kind, REFUSAL_OTHER);
  free(body);
}

static void an_answer_of_older_software_about_its_model_server_is_its_own_trouble(void) {
  struct refusal r = of(400, "{\"error\":\"Provider proxy: handle proxied service response, call proxied "
                             "service: dial tcp: connection refused\"}");
  CHECK_INT(r.kind, REFUSAL_BROKER);
  CHECK(outcome_harms_health(r.class));
}

static void a_model_that_the_caller_named_is_the_callers(void) {
  struct refusal r;
  refusal_read(&r, 400, SPAN("{\"error\":\"prepare HTTP request: model not supported: requested 'a'\"}"),
               false);
  CHECK_INT(r.kind, REFUSAL_OTHER);
  CHECK_INT(r.class, OUTCOME_CLIENT_ERROR);
}

static void other_statuses_mean_what_they_mean_anywhere(void) {
  static const struct {
    int status;
    enum refusal_kind kind;
    enum outcome_class class;
  } all[] = {
      {401, REFUSAL_TOKEN, OUTCOME_AUTH},         {402, REFUSAL_FUNDS, OUTCOME_EXHAUSTED},
      {403, REFUSAL_OTHER, OUTCOME_AUTH},         {404, REFUSAL_OTHER, OUTCOME_CLIENT_ERROR},
      {409, REFUSAL_OTHER, OUTCOME_CLIENT_ERROR}, {410, REFUSAL_MODEL, OUTCOME_SERVER},
      {413, REFUSAL_OTHER, OUTCOME_CLIENT_ERROR}, {429, REFUSAL_OTHER, OUTCOME_RATE_LIMITED},
      {500, REFUSAL_OTHER, OUTCOME_SERVER},       {502, REFUSAL_OTHER, OUTCOME_SERVER},
      {503, REFUSAL_OTHER, OUTCOME_OVERLOADED},   {200, REFUSAL_OTHER, OUTCOME_OK},
  };
  for (size_t i = 0; i < ARRAY_LEN(all); i++) {
    struct refusal r = of(all[i].status, "{\"error\":\"anything\"}");
    CHECK_INT(r.kind, all[i].kind);
    CHECK_INT(r.class, all[i].class);
  }
  /* A text counts where the broker itself refuses. */
  CHECK_INT(of(500, "{\"error\":\"validate session: x\"}").kind, REFUSAL_OTHER);
  CHECK_INT(of(403, "{\"error\":\"validate session: x\"}").kind, REFUSAL_TOKEN);
}

static bool says(const struct refusal *r, const char *what) {
  char text[400];
  refusal_text(text, sizeof text, r, ID);
  return strstr(text, what) != NULL;
}

static void what_is_said_names_the_remedy(void) {
  struct refusal r =
      of(400, "{\"error\":\"validate request: insufficient balance: your locked balance is 0.4 0G, but the "
              "required minimum is 1.02 0G (breakdown)\"}");
  CHECK(says(&r, "holds 0.4 0G, it requires 1.02 0G: run `0g-compute-cli transfer-fund --service inference "
                 "--provider " ID " --amount 1.62`, or set autoFunding"));
  CHECK(says(&r, "autoFunding"));
  r = of(400, "{\"error\":\"validate request: insufficient balance, total fee of 12 exceeds\"}");
  CHECK(says(&r, "holds too little: run `0g-compute-cli transfer-fund"));
  r = of(400, "{\"error\":\"validate request: get account from contract, account not exist: x\"}");
  CHECK(says(&r,
             "no sub-account with it: run `0g-compute-cli transfer-fund --service inference --provider " ID
             " --amount 2`"));
  r = of(400, "{\"error\":\"validate request: user not acknowledge the provider, please use\"}");
  CHECK(says(&r, "run `0g-compute-cli inference acknowledge-provider --provider " ID "` (it takes effect"));
  r = of(400, "{\"error\":\"validate request: service not acknowledge the tee signer\"}");
  CHECK(says(&r, "other providers"));
  for (int kind = REFUSAL_TOKEN; kind <= REFUSAL_BROKER; kind++) {
    r = (struct refusal){.kind = (enum refusal_kind)kind};
    CHECK(says(&r, " "));
  }
  r.kind = REFUSAL_OTHER;
  char text[8] = "before";
  refusal_text(text, sizeof text, &r, ID);
  CHECK_INT(text[0], 0);
}

static void an_amount_that_is_none_is_left_out(void) {
  char body[512];
  static const char *const odd[] = {"", "x", "-1", "1111111111111111111111111111111111111111111111",
                                    "\\u0031"};
  for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
    (void)snprintf(
        body, sizeof body,
        "{\"error\":\"insufficient balance: your locked balance is %s 0G, but the required minimum is "
        "1 0G\"}",
        odd[i]);
    struct refusal r = of(400, body);
    CHECK_INT(r.kind, REFUSAL_FUNDS);
    CHECK_INT(r.has.len, 0);
  }
}

static void a_body_that_ends_anywhere_is_read_safely(void) {
  static const char body[] =
      "{\"error\":\"validate request: insufficient balance: your locked balance is 0.4 0G, "
      "but the required minimum is 1.02 0G\"}";
  for (size_t n = 0; n < sizeof body; n++) {
    char *copy = x_strndup(body, n); /* of exactly that size, for the sanitizer */
    struct refusal r;
    refusal_read(&r, 400, span_make(copy, n), true);
    CHECK(r.kind == REFUSAL_OTHER || r.kind == REFUSAL_FUNDS);
    free(copy);
  }
}

int main(void) {
  RUN(each_text_of_a_400_has_its_meaning_in_both_generations);
  RUN(letter_case_and_blanks_decide_nothing);
  RUN(an_expired_model_is_the_providers_when_its_record_named_it);
  RUN(a_text_far_behind_the_start_is_not_looked_for);
  RUN(an_answer_of_older_software_about_its_model_server_is_its_own_trouble);
  RUN(a_model_that_the_caller_named_is_the_callers);
  RUN(other_statuses_mean_what_they_mean_anywhere);
  RUN(what_is_said_names_the_remedy);
  RUN(an_amount_that_is_none_is_left_out);
  RUN(a_body_that_ends_anywhere_is_read_safely);
  return CHECK_END();
}
