/*
 * Dates: ours written, and all three forms read that RFC 9110 (5.6.7) asks for; from these, how long Retry-After
 * asks to wait.
 *
 * Thread: any; no state.
 */
#include "wire/http.h"

#define DAY_MS       UINT64_C(86400000)
#define LAST_WALL_MS UINT64_C(253402300799999) /* the end of the year 9999 */

static const char WEEKDAYS[] = "SunMonTueWedThuFriSat";
static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct date {
  unsigned year, month, day; /* month 1 … 12 */
};

/* Both by H. Hinnant, "chrono-compatible low-level date algorithms": years start in March, eras have 400
 * years. */
static struct date date_of_day(uint64_t day) {
  uint64_t z = day + 719468, era = z / 146097, doe = z % 146097;
  uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
  return (struct date){(unsigned)(yoe + era * 400) + (month <= 2), month,
                       (unsigned)(doy - (153 * mp + 2) / 5) + 1};
}

static int64_t day_of_date(struct date d) {
  int64_t y = (int64_t)d.year + 400 - (d.month <= 2); /* 400 years more keep everything positive */
  int64_t era = y / 400, yoe = y % 400;
  int64_t doy = (153 * (d.month > 2 ? d.month - 3 : d.month + 9) + 2) / 5 + d.day - 1;
  return (era - 1) * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static char *put_digits(char *at, unsigned n, unsigned width) {
  for (unsigned i = width; i-- > 0; n /= 10)
    at[i] = (char)('0' + n % 10);
  return at + width;
}

static char *put_text(char *at, const char *text, size_t len) {
  memcpy(at, text, len);
  return at + len;
}

size_t http_date(char out[32], uint64_t wall_ms) {
  if (wall_ms > LAST_WALL_MS) wall_ms = LAST_WALL_MS;
  uint64_t day = wall_ms / DAY_MS;
  unsigned second = (unsigned)(wall_ms % DAY_MS / 1000);
  struct date date = date_of_day(day);
  char *at = put_text(out, WEEKDAYS + (day + 4) % 7 * 3, 3);
  at = put_text(at, ", ", 2);
  at = put_digits(at, date.day, 2);
  *at++ = ' ';
  at = put_text(at, MONTHS + (date.month - 1) * 3, 3);
  *at++ = ' ';
  at = put_digits(at, date.year, 4);
  *at++ = ' ';
  at = put_digits(at, second / 3600, 2);
  *at++ = ':';
  at = put_digits(at, second / 60 % 60, 2);
  *at++ = ':';
  at = put_digits(at, second % 60, 2);
  at = put_text(at, " GMT", 5);
  return (size_t)(at - out) - 1;
}

static inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Reads a date from front to back; once something does not fit, `is_bad` stays. */
struct reader {
  struct span rest;
  bool is_bad;
};

static void read_text(struct reader *r, struct span text) {
  r->is_bad = r->is_bad || !span_starts(r->rest, text);
  if (!r->is_bad) r->rest = span_make(r->rest.ptr + text.len, r->rest.len - text.len);
}

static unsigned read_digits(struct reader *r, unsigned width) {
  r->is_bad = r->is_bad || r->rest.len < width;
  unsigned n = 0;
  for (unsigned i = 0; i < width && !r->is_bad; i++) {
    r->is_bad = !is_digit(r->rest.ptr[i]);
    n = n * 10 + (unsigned)(r->rest.ptr[i] - '0');
  }
  if (!r->is_bad) r->rest = span_make(r->rest.ptr + width, r->rest.len - width);
  return r->is_bad ? 0 : n;
}

/* One of the three-letter names in `names`; returns its number. */
static unsigned read_name(struct reader *r, const char *names) {
  unsigned n = 0;
  for (; names[n * 3]; n++) {
    struct span name = span_make(names + n * 3, 3);
    if (r->is_bad || !span_starts(r->rest, name)) continue;
    read_text(r, name);
    return n;
  }
  r->is_bad = true;
  return 0;
}

static unsigned read_time(struct reader *r) {
  unsigned hour = read_digits(r, 2);
  read_text(r, SPAN(":"));
  unsigned minute = read_digits(r, 2);
  read_text(r, SPAN(":"));
  unsigned second = read_digits(r, 2); /* 60 is a leap second */
  r->is_bad = r->is_bad || hour > 23 || minute > 59 || second > 60;
  return hour * 3600 + minute * 60 + second;
}

static unsigned read_imf_fixdate(struct reader *r, struct date *d) {
  read_text(r, SPAN(", "));
  d->day = read_digits(r, 2);
  read_text(r, SPAN(" "));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN(" "));
  d->year = read_digits(r, 4);
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" GMT"));
  return second;
}

static unsigned read_asctime(struct reader *r, struct date *d) {
  read_text(r, SPAN(" "));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN(" "));
  if (span_starts(r->rest, SPAN(" "))) {
    read_text(r, SPAN(" "));
    d->day = read_digits(r, 1);
  } else {
    d->day = read_digits(r, 2);
  }
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" "));
  d->year = read_digits(r, 4);
  return second;
}

static unsigned read_rfc850(struct reader *r, struct date *d, unsigned weekday, unsigned year_now) {
  static const char *const TAILS[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
  read_text(r, span_str(TAILS[weekday]));
  read_text(r, SPAN(", "));
  d->day = read_digits(r, 2);
  read_text(r, SPAN("-"));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN("-"));
  d->year = year_now / 100 * 100 + read_digits(r, 2);
  /* RFC 9110, 5.6.7: more than 50 years ahead means the century before. */
  if (d->year > year_now + 50) d->year -= 100;
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" GMT"));
  return second;
}

static bool is_real_date(struct date d) {
  static const uint8_t DAYS[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool is_leap = d.year % 4 == 0 && (d.year % 100 != 0 || d.year % 400 == 0);
  return d.day >= 1 && d.day <= DAYS[d.month - 1] && (d.month != 2 || d.day <= 28 || is_leap);
}

/* Seconds since 1970, negative before it. */
static bool read_date(int64_t *out, struct span s, uint64_t wall_now_ms) {
  struct reader r = {s, false};
  struct date date = {0, 1, 0};
  unsigned weekday = read_name(&r, WEEKDAYS), second;
  if (span_starts(r.rest, SPAN(",")))
    second = read_imf_fixdate(&r, &date);
  else if (span_starts(r.rest, SPAN(" ")))
    second = read_asctime(&r, &date);
  else
    second = read_rfc850(&r, &date, weekday, date_of_day(wall_now_ms / DAY_MS).year);
  if (r.is_bad || r.rest.len || !is_real_date(date)) return false;
  *out = day_of_date(date) * 86400 + second;
  return true;
}

bool http_retry_after_ms(struct span value, uint64_t wall_now_ms, uint64_t *out_ms) {
  if (wall_now_ms > LAST_WALL_MS) wall_now_ms = LAST_WALL_MS;
  value = span_trim(value);
  uint64_t ms = 0;
  if (value.len && is_digit(value.ptr[0])) {
    for (size_t i = 0; i < value.len; i++) {
      if (!is_digit(value.ptr[i])) return false;
      if (ms <= DAY_MS) ms = ms * 10 + (uint64_t)(value.ptr[i] - '0') * 1000;
    }
  } else {
    int64_t second;
    if (!read_date(&second, value, wall_now_ms)) return false;
    int64_t ahead_ms = second * 1000 - (int64_t)wall_now_ms;
    ms = ahead_ms > 0 ? (uint64_t)ahead_ms : 0;
  }
  *out_ms = ms < DAY_MS ? ms : DAY_MS;
  return true;
}
