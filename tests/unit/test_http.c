#include "wire/http.h"

#include "check.h"

static void known_names_have_their_ids_in_any_case(void) {
  static const struct {
    const char *name;
    enum http_field_id id;
  } NAMES[] = {
#define ROW(id, name) {name, HTTP_FIELD_##id},
      HTTP_FIELD_MAP(ROW)
#undef ROW
  };
  for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
    char upper[64];
    size_t len = strlen(NAMES[i].name);
    for (size_t k = 0; k < len; k++)
      upper[k] = (char)(NAMES[i].name[k] >= 'a' ? NAMES[i].name[k] - 32 : NAMES[i].name[k]);
    CHECK_INT(http_field_id(span_make(NAMES[i].name, len)), NAMES[i].id);
    CHECK_INT(http_field_id(span_make(upper, len)), NAMES[i].id);
    CHECK_INT(http_field_id(span_make(upper, len - 1)), HTTP_FIELD_OTHER);
    for (size_t k = 0; k < len; k++) {
      char kept = upper[k];
      upper[k] = (char)(kept ^ 0x40); /* '-' becomes 'm', letters become control bytes */
      CHECK_INT(http_field_id(span_make(upper, len)), HTTP_FIELD_OTHER);
      upper[k] = (char)(kept & 0x1f); /* what a mere mask would take for the letter */
      CHECK_INT(http_field_id(span_make(upper, len)), HTTP_FIELD_OTHER);
      upper[k] = (char)(kept | 0x80);
      CHECK_INT(http_field_id(span_make(upper, len)), HTTP_FIELD_OTHER);
      upper[k] = kept;
    }
  }
}

static void unknown_names_have_none(void) {
  CHECK_INT(http_field_id(SPAN("")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("x")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("content_length")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("content\rlength")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("content-length ")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("x-something-ids")), HTTP_FIELD_OTHER);
  CHECK_INT(http_field_id(SPAN("x-request-ie")), HTTP_FIELD_OTHER);
}

static void tokens_are_as_in_rfc_9110(void) {
  static const char ALLOWED[] =
      "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  CHECK(!http_is_token(SPAN("")));
  for (int c = 0; c < 256; c++) {
    char text[3] = {'a', (char)c, 'b'};
    bool is_allowed = c && strchr(ALLOWED, c);
    CHECK_INT(http_is_token(span_make(text, 3)), is_allowed);
  }
}

static void field_values_have_no_controls_wherever_they_stand(void) {
  CHECK(http_is_field_value(SPAN("")));
  for (int c = 0; c < 256; c++)
    for (size_t len = 1; len < 20; len++)
      for (size_t at = 0; at < len; at++) {
        char text[20];
        memset(text, c & 1 ? '~' : ' ', sizeof text);
        text[at] = (char)c;
        CHECK_INT(http_is_field_value(span_make(text, len)), c == '\t' || (c >= 0x20 && c != 0x7f));
      }
}

static void lists_are_searched_by_whole_members(void) {
  CHECK(http_list_has(SPAN("close"), SPAN("close")));
  CHECK(http_list_has(SPAN("keep-alive, Close"), SPAN("close")));
  CHECK(http_list_has(SPAN(",, \tclose\t ,x"), SPAN("close")));
  CHECK(!http_list_has(SPAN("closed, xclose, clo,se"), SPAN("close")));
  CHECK(!http_list_has(SPAN(""), SPAN("close")));
  CHECK(!http_list_has(SPAN_NONE, SPAN("close")));
}

static void fields_are_found_by_id_and_by_name(void) {
  const struct http_field fields[] = {
      {SPAN("Host"), SPAN("a"), HTTP_FIELD_HOST},
      {SPAN("X-A"), SPAN("1"), HTTP_FIELD_OTHER},
      {SPAN("x-a"), SPAN("2"), HTTP_FIELD_OTHER},
  };
  CHECK(http_find(fields, 3, HTTP_FIELD_HOST) == &fields[0]);
  CHECK(http_find(fields, 3, HTTP_FIELD_DATE) == NULL);
  CHECK(http_find_name(fields, 3, SPAN("X-a")) == &fields[1]);
  CHECK(http_find_name(fields, 3, SPAN("x-b")) == NULL);
}

static void hop_by_hop_fields_are_known(void) {
  CHECK(http_is_hop_by_hop(HTTP_FIELD_CONNECTION));
  CHECK(http_is_hop_by_hop(HTTP_FIELD_PROXY_AUTHORIZATION));
  CHECK(http_is_hop_by_hop(HTTP_FIELD_UPGRADE));
  CHECK(!http_is_hop_by_hop(HTTP_FIELD_AUTHORIZATION));
  CHECK(!http_is_hop_by_hop(HTTP_FIELD_OTHER));
}

static void hosts_are_checked(void) {
  static const char *const GOOD[] = {"a",           "example.com", "example.com:80", "127.0.0.1:3000",
                                     "localhost:0", "a:65535",     "A_b-c.d~e",      "a%2fb:1",
                                     "[::1]",       "[::1]:8080",  "[2001:db8::7]",  "xn--p1ai.",
                                     "1.2.3.4",     "a;b",         "a:00080",        "[::ffff:1.2.3.4]"};
  static const char *const BAD[] = {"",         ":80",  "a:",    "a:65536",  "a:99999999999999999999",
                                    "a:-1",     "a:+1", "a:8 0", "a b",      "a/b",
                                    "a?b",      "a#b",  "u@a",   "u:p@a",    "a:80:80",
                                    "[::1",     "::1",  "[]",    "[::1]x",   "[::1]:",
                                    "[::g]",    "[1]",  "a%",    "a%2",      "a%zz",
                                    "a,b",      "a\\b", "a\tb",  "\xc3\xa9", "[::1%25lo]",
                                    "http://a", "a\"b", "<a>"};
  for (size_t i = 0; i < ARRAY_LEN(GOOD); i++)
    if (!http_is_host(span_str(GOOD[i]))) CHECK_STR(GOOD[i], strlen(GOOD[i]), "accepted");
  for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
    if (http_is_host(span_str(BAD[i]))) CHECK_STR(BAD[i], strlen(BAD[i]), "refused");
  CHECK(!http_is_host(span_make("a\0b", 3)));
  CHECK(!http_is_host(span_make("[::1\0]", 6)));
  char text[300];
  memset(text, 'a', sizeof text);
  CHECK(http_is_host(span_make(text, 255)));
  CHECK(!http_is_host(span_make(text, 262)));
}

static void check_date(uint64_t wall_ms, const char *expected) {
  char out[32];
  size_t len = http_date(out, wall_ms);
  CHECK_INT(len, 29);
  CHECK_INT(strlen(out), 29);
  CHECK_STR(out, len, expected);
  uint64_t ms = 1;
  CHECK(http_retry_after_ms(span_make(out, len), wall_ms / 1000 * 1000, &ms));
  CHECK_INT(ms, 0);
  if (wall_ms < 60000) return;
  CHECK(http_retry_after_ms(span_make(out, len), wall_ms / 1000 * 1000 - 59500, &ms));
  CHECK_INT(ms, 59500);
}

static void dates_are_imf_fixdates(void) {
  check_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
  check_date(UINT64_C(784111777000), "Sun, 06 Nov 1994 08:49:37 GMT");
  check_date(UINT64_C(951782400999), "Tue, 29 Feb 2000 00:00:00 GMT");
  check_date(UINT64_C(951868799000), "Tue, 29 Feb 2000 23:59:59 GMT");
  check_date(UINT64_C(951868800000), "Wed, 01 Mar 2000 00:00:00 GMT");
  check_date(UINT64_C(1795400220000), "Mon, 23 Nov 2026 02:17:00 GMT");
  check_date(UINT64_C(4107542400000), "Mon, 01 Mar 2100 00:00:00 GMT");
  check_date(UINT64_C(253402300799999), "Fri, 31 Dec 9999 23:59:59 GMT");
  char out[32];
  CHECK_STR(out, http_date(out, UINT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void retry_after_takes_seconds_and_caps_them(void) {
  uint64_t ms = 1;
  CHECK(http_retry_after_ms(SPAN("0"), 0, &ms));
  CHECK_INT(ms, 0);
  CHECK(http_retry_after_ms(SPAN(" 120 "), 0, &ms));
  CHECK_INT(ms, 120000);
  CHECK(http_retry_after_ms(SPAN("0007"), 0, &ms));
  CHECK_INT(ms, 7000);
  CHECK(http_retry_after_ms(SPAN("86401"), 0, &ms));
  CHECK_INT(ms, 86400000);
  CHECK(http_retry_after_ms(SPAN("99999999999999999999999999999999999999"), 0, &ms));
  CHECK_INT(ms, 86400000);
  static const char *const BAD[] = {"", " ", "1.5", "-1", "+1", "1s", "1 2", "soon", "0x10", "1e3", "5,"};
  for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
    CHECK(!http_retry_after_ms(span_str(BAD[i]), 0, &ms));
}

static void retry_after_takes_all_three_date_forms(void) {
  const uint64_t now = UINT64_C(784111777000) - 37000;
  uint64_t ms = 0;
  CHECK(http_retry_after_ms(SPAN("Sun, 06 Nov 1994 08:49:37 GMT"), now, &ms));
  CHECK_INT(ms, 37000);
  CHECK(http_retry_after_ms(SPAN("Sunday, 06-Nov-94 08:49:37 GMT"), now, &ms));
  CHECK_INT(ms, 37000);
  CHECK(http_retry_after_ms(SPAN("Sun Nov  6 08:49:37 1994"), now, &ms));
  CHECK_INT(ms, 37000);
  CHECK(http_retry_after_ms(SPAN("Wed Nov 16 08:49:37 1994"), now, &ms));
  CHECK_INT(ms, 86400000);
  CHECK(http_retry_after_ms(SPAN("Sat, 06 Nov 1993 08:49:37 GMT"), now, &ms));
  CHECK_INT(ms, 0);
  CHECK(http_retry_after_ms(SPAN("Thu, 01 Jan 0001 00:00:00 GMT"), now, &ms));
  CHECK_INT(ms, 0);
  CHECK(http_retry_after_ms(SPAN("Fri, 31 Dec 9999 23:59:60 GMT"), UINT64_MAX, &ms));
  CHECK(ms <= 1001);
}

static void two_digit_years_lie_at_most_50_years_ahead(void) {
  uint64_t ms = 0;
  const uint64_t now = UINT64_C(1795400220000); /* 2026 */
  CHECK(http_retry_after_ms(SPAN("Thursday, 01-Jan-76 00:00:00 GMT"), now, &ms));
  CHECK_INT(ms, 86400000);
  CHECK(http_retry_after_ms(SPAN("Friday, 01-Jan-77 00:00:00 GMT"), now, &ms));
  CHECK_INT(ms, 0);
}

static void malformed_dates_are_refused(void) {
  static const char *const BAD[] = {"Sun, 06 Nov 1994 08:49:37",
                                    "Sun, 06 Nov 1994 08:49:37 UTC",
                                    "Sun, 6 Nov 1994 08:49:37 GMT",
                                    "sun, 06 nov 1994 08:49:37 gmt",
                                    "Sun, 06 Nov 1994 24:00:00 GMT",
                                    "Sun, 06 Nov 1994 08:60:37 GMT",
                                    "Sun, 06 Nov 1994 08:49:61 GMT",
                                    "Sun, 31 Nov 1994 08:49:37 GMT",
                                    "Sun, 00 Nov 1994 08:49:37 GMT",
                                    "Wed, 29 Feb 1995 08:49:37 GMT",
                                    "Thu, 29 Feb 1900 08:49:37 GMT",
                                    "Sun, 06 Nox 1994 08:49:37 GMT",
                                    "Sun, 06 Nov 1994 08:49:37 GMTx",
                                    "Sun, 06 Nov 94 08:49:37 GMT",
                                    "Sunday, 06-Nov-1994 08:49:37 GMT",
                                    "Sun, 06-Nov-94 08:49:37 GMT",
                                    "Sunday, 06 Nov 1994 08:49:37 GMT",
                                    "Sun Nov 06 08:49:37 94",
                                    "Sun Nov 6 08:49:37 1994",
                                    "Sun",
                                    "Sun,",
                                    "Sunda",
                                    "Foo, 06 Nov 1994 08:49:37 GMT",
                                    "Monsday, 06-Nov-94 08:49:37 GMT",
                                    "Sun, 06 Nov 1994 08:49:3\x80 GMT",
                                    "Sun, 06  Nov 1994 08:49:37 GMT"};
  uint64_t ms;
  for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
    if (http_retry_after_ms(span_str(BAD[i]), 0, &ms)) CHECK_STR(BAD[i], strlen(BAD[i]), "refused");
}

static void reasons_are_named(void) {
  CHECK_STR(http_reason(200), strlen(http_reason(200)), "OK");
  CHECK_STR(http_reason(431), strlen(http_reason(431)), "Request Header Fields Too Large");
  CHECK_STR(http_reason(504), strlen(http_reason(504)), "Gateway Timeout");
  CHECK_STR(http_reason(299), strlen(http_reason(299)), "");
  for (int status = -1; status < 1000; status++)
    CHECK(http_is_field_value(span_str(http_reason(status))));
}

int main(void) {
  RUN(known_names_have_their_ids_in_any_case);
  RUN(unknown_names_have_none);
  RUN(tokens_are_as_in_rfc_9110);
  RUN(field_values_have_no_controls_wherever_they_stand);
  RUN(lists_are_searched_by_whole_members);
  RUN(fields_are_found_by_id_and_by_name);
  RUN(hop_by_hop_fields_are_known);
  RUN(hosts_are_checked);
  RUN(dates_are_imf_fixdates);
  RUN(retry_after_takes_seconds_and_caps_them);
  RUN(retry_after_takes_all_three_date_forms);
  RUN(two_digit_years_lie_at_most_50_years_ahead);
  RUN(malformed_dates_are_refused);
  RUN(reasons_are_named);
  return CHECK_END();
}
