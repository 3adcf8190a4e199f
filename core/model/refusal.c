#include "model/refusal.h"

#include "base/base.h"
#include "eth/u256.h"

#include <stdio.h>

#define AMOUNT_MAX 40
#define ONE_0G     1000000000000000000u
#define TEXT_MAX   4096 /* what counts stands at the start */

#define TRANSFER "transfer-fund --service inference", ", or set autoFunding, its perProvider large enough"

static const struct {
  enum outcome_class class;
  const char *text;
  const char *command, *otherwise; /* of 0g-compute-cli, what a person can do about it; NULL: nothing */
} kinds[] = {
    [REFUSAL_OTHER] = {OUTCOME_CLIENT_ERROR, ""},
    [REFUSAL_TOKEN] = {OUTCOME_AUTH, "it refuses our session token, a fresh one too"},
    [REFUSAL_TOKEN_EXPIRED] = {OUTCOME_AUTH,
                               "it calls our session token expired, a fresh one too: its clock or the one "
                               "here is wrong by hours"},
    [REFUSAL_TOKEN_ELSEWHERE] =
        {OUTCOME_AUTH, "another provider answers at its url: its record in the contract, or the url "
                       "in the configuration, is out of date"},
    [REFUSAL_TOKEN_AHEAD] = {OUTCOME_AUTH,
                             "it has not noticed yet that all session tokens were revoked; it looks at the "
                             "contract again within ten minutes"},
    [REFUSAL_NO_ACCOUNT] = {OUTCOME_EXHAUSTED, "there is no sub-account with it", TRANSFER},
    [REFUSAL_NOT_ACKNOWLEDGED] = {OUTCOME_EXHAUSTED, "the sub-account has not acknowledged its signer",
                                  "inference acknowledge-provider",
                                  " (it takes effect within ten minutes), or set autoFunding"},
    [REFUSAL_SIGNER] = {OUTCOME_EXHAUSTED,
                        "the contract's owner has not acknowledged its signer: nothing can be done here but "
                        "to use other providers"},
    [REFUSAL_FUNDS] = {OUTCOME_EXHAUSTED, "the sub-account holds too little", TRANSFER},
    [REFUSAL_MODEL] = {OUTCOME_SERVER, "it no longer serves the model of its record in the contract"},
    [REFUSAL_BROKER] = {OUTCOME_SERVER, "it has trouble of its own"},
};

/* The first row whose two texts are there decides. */
static const struct {
  const char *start, *within; /* within NULL: anything */
  enum refusal_kind kind;
} rows[] = {
    {"validate session", "session token is for different provider", REFUSAL_TOKEN_ELSEWHERE},
    {"validate session", "future generation", REFUSAL_TOKEN_AHEAD},
    {"validate session", "session token expired", REFUSAL_TOKEN_EXPIRED},
    {"validate session", NULL, REFUSAL_TOKEN},
    {"validate request", "session validation failed", REFUSAL_TOKEN},
    {"validate request", "user not acknowledge", REFUSAL_NOT_ACKNOWLEDGED},
    {"validate request", "service not acknowledge", REFUSAL_SIGNER},
    {"validate request", "insufficient balance", REFUSAL_FUNDS},
    {"validate request", "account not exist", REFUSAL_NO_ACCOUNT},
    {"validate request", "get account from contract: execution reverted", REFUSAL_NO_ACCOUNT},
    {"validate request", "get account from contract", REFUSAL_BROKER},
    {"validate request", "get service from", REFUSAL_BROKER},
    {"validate request", "unsettled fee", REFUSAL_BROKER},
    {"validate request", "lockBalance", REFUSAL_BROKER},
    {"insufficient balance", NULL, REFUSAL_FUNDS},
    {"account not exist", NULL, REFUSAL_NO_ACCOUNT},
    {"get account from contract, account not exist", NULL, REFUSAL_NO_ACCOUNT},
    {"user not acknowledge", NULL, REFUSAL_NOT_ACKNOWLEDGED},
    {"service not acknowledge", NULL, REFUSAL_SIGNER},
    {"create request", NULL, REFUSAL_BROKER},
    {"get billing prices", NULL, REFUSAL_BROKER},
    {"prepare request extractor", NULL, REFUSAL_BROKER},
    {"prepare HTTP request", "model not supported: requested", REFUSAL_MODEL},
};

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static struct span skip_blanks(struct span s) {
  while (s.len && is_blank(s.ptr[0]))
    s = span_make(s.ptr + 1, s.len - 1);
  return s;
}

/*
 * Behind `with` when the text begins with it, NULL when it does not. Letter case and the number of blanks between words
 * vary with the software's version and decide nothing.
 */
static const char *behind(struct span s, const char *with) {
  for (; *with; with++) {
    bool is_same = s.len && (*with == ' ' ? is_blank(s.ptr[0]) : ascii_lower(s.ptr[0]) == ascii_lower(*with));
    if (!is_same) return NULL;
    s = *with == ' ' ? skip_blanks(s) : span_make(s.ptr + 1, s.len - 1);
  }
  return s.ptr;
}

static bool starts(struct span s, const char *with) {
  return behind(s, with) != NULL;
}

static bool contains(struct span s, const char *what) {
  for (; s.len; s = span_make(s.ptr + 1, s.len - 1))
    if (starts(s, what)) return true;
  return false;
}

static void skip(struct span *s, const char *prefix) {
  const char *rest = behind(*s, prefix);
  if (rest) *s = span_make(rest, (size_t)(s->ptr + s->len - rest));
}

static enum refusal_kind kind_of(struct span text, bool model_is_ours) {
  text = skip_blanks(text);
  /* "…service response, call proxied service: …": the model's server is out of reach. */
  if (starts(text, "Provider proxy: handle proxied service response")) return REFUSAL_BROKER;
  skip(&text, "Provider proxy: handle proxied service, ");
  for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
    if (!starts(text, rows[i].start)) continue;
    if (rows[i].within && !contains(text, rows[i].within)) continue;
    return rows[i].kind == REFUSAL_MODEL && !model_is_ours ? REFUSAL_OTHER : rows[i].kind;
  }
  return REFUSAL_OTHER;
}

/* The number behind `label`; empty when there is none. */
static struct span amount_behind(struct span text, const char *label) {
  const char *at = span_find(text, span_str(label));
  if (!at) return SPAN_NONE;
  at += strlen(label);
  size_t left = (size_t)(text.ptr + text.len - at), n = 0;
  while (n < left && n < AMOUNT_MAX && ((at[n] >= '0' && at[n] <= '9') || at[n] == '.'))
    n++;
  return n && n < AMOUNT_MAX ? span_make(at, n) : SPAN_NONE;
}

void refusal_read(struct refusal *out, int status, struct span body, bool model_is_ours) {
  *out = (struct refusal){.kind = REFUSAL_OTHER, .class = outcome_of_status(status, body)};
  bool is_expired = status == 410 && model_is_ours; /* "model … is no longer available" */
  if (is_expired) *out = (struct refusal){.kind = REFUSAL_MODEL, .class = kinds[REFUSAL_MODEL].class};
  if (status < 400 || status > 403) return;
  struct span text = outcome_error_text(body);
  if (text.len > TEXT_MAX) text.len = TEXT_MAX;
  enum refusal_kind kind = kind_of(text, model_is_ours);
  /* Software that tells it by the status may choose another text. */
  if (kind == REFUSAL_OTHER && status == 401) kind = REFUSAL_TOKEN;
  if (kind == REFUSAL_OTHER && status == 402) kind = REFUSAL_FUNDS;
  if (kind == REFUSAL_OTHER) return;
  out->kind = kind;
  out->class = kinds[kind].class;
  if (kind != REFUSAL_FUNDS) return;
  out->has = amount_behind(text, "your locked balance is ");
  out->needs = amount_behind(text, "the required minimum is ");
}

/* What it lacks, and 1 0G to spend; 2 0G when it does not say. */
static void amount_text(char out[U256_0G_MAX], const struct refusal *r) {
  struct u256 has, needs;
  bool is_known =
      r->has.len && r->needs.len && !u256_parse_0g(&has, r->has) && !u256_parse_0g(&needs, r->needs);
  struct u256 amount = u256_of((is_known ? 1 : 2) * ONE_0G);
  if (is_known && u256_add(&amount, amount, u256_sub_or_zero(needs, has))) amount = U256_MAX;
  size_t len = u256_0g_text(out, amount);
  out[len - (sizeof " 0G" - 1)] = '\0';
}

void refusal_text(char *out, size_t size, const struct refusal *r, const char *provider) {
  const char *command = kinds[r->kind].command;
  int n = 0;
  if (r->kind == REFUSAL_FUNDS && r->has.len && r->needs.len)
    n = snprintf(out, size, "the sub-account holds %.*s 0G, it requires %.*s 0G", SPAN_FMT(r->has),
                 SPAN_FMT(r->needs));
  else
    n = snprintf(out, size, "%s", kinds[r->kind].text);
  if (!command || n < 0 || (size_t)n >= size) return;
  char amount[U256_0G_MAX];
  amount_text(amount, r);
  bool is_transfer = r->kind != REFUSAL_NOT_ACKNOWLEDGED;
  (void)snprintf(out + n, size - (size_t)n, ": run `0g-compute-cli %s --provider %s%s%s`%s", command,
                 provider, is_transfer ? " --amount " : "", is_transfer ? amount : "",
                 kinds[r->kind].otherwise);
}
