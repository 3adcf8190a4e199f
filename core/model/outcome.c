#include "model/outcome.h"

#include "base/base.h"

#include <strings.h>

static const struct {
  const char *name;
  bool retry, health;
} classes[OUTCOME_N] = {
#define OUTCOME_ROW_(name, text, retry, health) [OUTCOME_##name] = {text, retry, health},
    OUTCOME_MAP(OUTCOME_ROW_)
#undef OUTCOME_ROW_
};

const char *outcome_name(enum outcome_class c) {
  return (unsigned)c < OUTCOME_N ? classes[c].name : "unknown";
}

bool outcome_is_retryable(enum outcome_class c) {
  return (unsigned)c < OUTCOME_N && classes[c].retry;
}

bool outcome_harms_health(enum outcome_class c) {
  return (unsigned)c < OUTCOME_N && classes[c].health;
}

/* ---- what an error body says ---- */

/*
 * The three texts that error bodies are known to carry, as they stand in the document (escapes undecoded):
 * {"error":"text"} or {"error":{"message","type","code"}} or the three members at the top.
 */
struct error_text {
  struct span message, type, code;
};

static struct span string_at(struct span *s) {
  /* s->ptr[0] is the opening quote; a string that is cut off counts as far as it goes. */
  size_t i = 1;
  while (i < s->len && s->ptr[i] != '"')
    i += s->ptr[i] == '\\' ? 2 : 1;
  if (i > s->len) i = s->len;
  struct span out = span_make(s->ptr + 1, i - 1);
  size_t used = i < s->len ? i + 1 : i;
  s->ptr += used;
  s->len -= used;
  return out;
}

static void take_text(struct error_text *e, struct span key, struct span value, bool in_error) {
  struct span *to = NULL;
  if (span_eq(key, SPAN("message")) || (!in_error && span_eq(key, SPAN("error"))))
    to = &e->message;
  else if (span_eq(key, SPAN("type")))
    to = &e->type;
  else if (span_eq(key, SPAN("code")))
    to = &e->code;
  if (to && !to->ptr) *to = value;
}

/*
 * Walks the document once without building anything. Only members at the top and directly inside "error" are
 * looked at, so that a prompt quoted deeper down or inside another string decides nothing.
 */
static struct error_text read_error(struct span s) {
  struct error_text out = {SPAN_NONE, SPAN_NONE, SPAN_NONE};
  struct span key = SPAN_NONE;
  unsigned depth = 0, error_depth = 0;
  bool is_value = false, in_error_array = false;
  while (s.len) {
    char c = s.ptr[0];
    if (c == '"') {
      struct span text = string_at(&s);
      bool is_here = depth == 1 || (depth == 2 && error_depth == 2 && !in_error_array);
      if (!is_value)
        key = text;
      else if (is_here)
        take_text(&out, key, text, depth == 2);
      continue;
    }
    if (c == '{' || c == '[') {
      depth++;
      if (depth == 2 && is_value && span_eq(key, SPAN("error"))) {
        error_depth = 2;
        in_error_array = c == '[';
      }
      is_value = c == '[';
    } else if (c == '}' || c == ']') {
      if (depth == 0) break;
      if (depth == error_depth) error_depth = 0;
      depth--;
      is_value = true;
    } else if (c == ':') {
      is_value = true;
    } else if (c == ',') {
      is_value = false;
    }
    s.ptr++;
    s.len--;
  }
  return out;
}

static bool starts_case(struct span s, const char *prefix) {
  size_t n = strlen(prefix);
  return s.len >= n && strncasecmp(s.ptr, prefix, n) == 0;
}

static bool contains(struct span s, const char *what) {
  return span_find(s, span_str(what)) != NULL;
}

static bool is_code(const struct error_text *e, const char *code) {
  return span_eq(e->code, span_str(code)) || span_eq(e->type, span_str(code));
}

static bool is_quota_code(const struct error_text *e) {
  return is_code(e, "insufficient_quota") || is_code(e, "billing_hard_limit_reached") ||
         is_code(e, "billing_not_active");
}

/*
 * The account texts of 0G providers stand at the start of the error, after at most one known prefix.
 * Anchoring them there keeps a caller from pausing a provider by making it quote such a text in a refusal.
 */
static enum outcome_class class_of_refusal(const struct error_text *e) {
  if (is_code(e, "content_filter") || is_code(e, "content_policy_violation")) return OUTCOME_CONTENT_POLICY;
  if (is_quota_code(e)) return OUTCOME_EXHAUSTED;
  static const char proxied[] = "Provider proxy: handle proxied service, ", request[] = "validate request";
  struct span text = e->message;
  if (starts_case(text, proxied))
    text = span_make(text.ptr + sizeof proxied - 1, text.len - (sizeof proxied - 1));
  if (starts_case(text, "validate session")) return OUTCOME_AUTH;
  if (starts_case(text, request)) {
    bool is_account = contains(text, "insufficient balance") || contains(text, "account not exist") ||
                      contains(text, "not acknowledge");
    return is_account ? OUTCOME_EXHAUSTED : OUTCOME_CLIENT_ERROR;
  }
  bool is_account = starts_case(text, "insufficient balance") || starts_case(text, "account not exist") ||
                    starts_case(text, "get account from contract, account not exist") ||
                    starts_case(text, "user not acknowledge") || starts_case(text, "service not acknowledge");
  return is_account ? OUTCOME_EXHAUSTED : OUTCOME_CLIENT_ERROR;
}

struct span outcome_error_text(struct span body) {
  return read_error(body).message;
}

enum outcome_class outcome_of_status(int status, struct span body) {
  if (status >= 200 && status < 300) return OUTCOME_OK;
  if (status < 400 || status > 599) return OUTCOME_BAD_RESPONSE;
  switch (status) {
  case 401:
  case 403: return OUTCOME_AUTH;
  case 402: return OUTCOME_EXHAUSTED;
  case 408:
  case 503:
  case 529: return OUTCOME_OVERLOADED;
  default: break;
  }
  if (status >= 500) return OUTCOME_SERVER;
  if (status != 400 && status != 429) return OUTCOME_CLIENT_ERROR;
  struct error_text e = read_error(body);
  if (status == 429) return is_quota_code(&e) ? OUTCOME_EXHAUSTED : OUTCOME_RATE_LIMITED;
  return class_of_refusal(&e);
}
