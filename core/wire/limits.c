#include "wire/limits.h"

#include "base/clock.h"

#include <math.h>

#define DAY_MS     86400000.0
#define DIGITS_MAX 15 /* exact as a double */

/* Takes digits, perhaps with a fraction, off the front; NaN when there are none, or too many. */
static double take_decimal(struct span *s) {
  double n = 0, scale = 1;
  size_t i = 0, n_digits = 0;
  bool has_point = false;
  for (; i < s->len; i++) {
    char c = s->ptr[i];
    if (c == '.' && n_digits && !has_point) {
      has_point = true;
      continue;
    }
    if (c < '0' || c > '9') break;
    n = n * 10 + (c - '0');
    if (has_point) scale *= 10;
    n_digits++;
  }
  *s = span_make(s->ptr + i, s->len - i);
  return n_digits && n_digits <= DIGITS_MAX ? n / scale : NAN;
}

/* A plain number, such as 1500 or 1.5; NaN when it is none. */
static double decimal(struct span s) {
  double n = take_decimal(&s);
  return s.len ? NAN : n;
}

static double take_unit(struct span *s) {
  static const struct {
    struct span name;
    double ms;
  } units[] = {{{"ms", 2}, 1}, {{"s", 1}, 1000}, {{"m", 1}, 60e3}, {{"h", 1}, 3600e3}, {{"d", 1}, DAY_MS}};
  for (size_t i = 0; i < ARRAY_LEN(units); i++) {
    if (!span_starts(*s, units[i].name)) continue;
    *s = span_make(s->ptr + units[i].name.len, s->len - units[i].name.len);
    return units[i].ms;
  }
  return s->len ? NAN : 1000; /* without a unit: seconds */
}

/* "1s", "6m0s", "2m59.5s", "120ms" or plain seconds. */
static double duration_ms(struct span s) {
  double total = 0;
  do {
    double n = take_decimal(&s);
    total += n * take_unit(&s);
  } while (s.len && total <= DAY_MS);
  return total <= DAY_MS ? total : NAN; /* more is a date in seconds, perhaps */
}

static void set_once(double *to, double x) {
  if (isnan(*to)) *to = x;
}

/* Both spellings may come with a fraction, against the RFC. */
static void take_retry_after(struct limits *l, struct span value, double scale) {
  double ms = decimal(value) * scale;
  uint64_t other; /* a date, most likely */
  if (isnan(ms) && scale > 1 && http_retry_after_ms(value, clock_wall_ms(), &other)) ms = (double)other;
  if (isnan(ms)) return;
  l->has_retry_after = true;
  l->retry_after_ms = (uint32_t)ceil(ms < DAY_MS ? ms : DAY_MS);
}

void limits_read(struct limits *l, const struct http_response *head) {
  const struct http_field *after = NULL, *after_ms = NULL;
  *l = (struct limits){.requests = {NAN, NAN}, .tokens = {NAN, NAN}};
  for (unsigned i = 0; i < head->n_fields; i++) {
    const struct http_field *f = &head->fields[i];
    switch (f->id) {
    case HTTP_FIELD_RETRY_AFTER:
      if (!after) after = f;
      break;
    case HTTP_FIELD_RETRY_AFTER_MS:
      if (!after_ms) after_ms = f;
      break;
    case HTTP_FIELD_X_RATELIMIT_REMAINING_REQUESTS: set_once(&l->requests.left, decimal(f->value)); break;
    case HTTP_FIELD_X_RATELIMIT_REMAINING_TOKENS: set_once(&l->tokens.left, decimal(f->value)); break;
    case HTTP_FIELD_X_RATELIMIT_RESET_REQUESTS: set_once(&l->requests.reset_ms, duration_ms(f->value)); break;
    case HTTP_FIELD_X_RATELIMIT_RESET_TOKENS: set_once(&l->tokens.reset_ms, duration_ms(f->value)); break;
    default: break;
    }
  }
  if (after_ms) take_retry_after(l, after_ms->value, 1);
  if (after && !l->has_retry_after) take_retry_after(l, after->value, 1000);
}

/* How long what is used up takes; one that says how much is left, and leaves something, is not what refused. */
static double wait_for(const struct limit *l) {
  return l->reset_ms > 0 && !(l->left >= 1) ? l->reset_ms : 0;
}

uint32_t limits_wait_ms(const struct limits *l) {
  if (l->has_retry_after) return l->retry_after_ms;
  double ms = fmax(wait_for(&l->requests), wait_for(&l->tokens));
  return (uint32_t)ceil(ms < DAY_MS ? ms : DAY_MS);
}
