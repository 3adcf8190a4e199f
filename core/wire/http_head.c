/*
 * The fields of a head, requests' and answers' alike: its lines taken apart, and what they say together about the
 * message's length and the connection. Whatever could be read in two ways is refused.
 *
 * Thread: any; no state.
 */
#include "wire/http_head.h"
#include "wire/http_private.h"
#include "wire/sse2.h"

/* ---- finding bytes ---- */

/* What a run of bytes has beside visible ASCII and blanks. */
#define ODD_TAB  1u
#define ODD_HIGH 2u /* 0x80 and above */

#if WIRE_SSE2
/* Letters, digits, '-' and '.' at the front of 16 bytes: what names are made of, nearly always. */
static inline unsigned name_run16(const char *at) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
  __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
  __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                 _mm_cmpgt_epi8(_mm_set1_epi8('z' + 1), lower));
  __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8('-' - 1)),
                                _mm_cmpgt_epi8(_mm_set1_epi8('9' + 1), bytes));
  digit = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('/')), digit);
  unsigned mask = ~(unsigned)_mm_movemask_epi8(_mm_or_si128(letter, digit));
  return (unsigned)__builtin_ctz(mask);
}
#endif

/* The first byte that is no field value, or `end`. */
static inline const char *skip_value(const char *at, const char *end, unsigned *odd) {
#if WIRE_SSE2
  const __m128i last = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f);
  while (end - at >= 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last), bytes);
    unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, del)));
    unsigned high = (unsigned)_mm_movemask_epi8(bytes);
    if (!stop) {
      *odd |= high ? ODD_HIGH : 0;
      at += 16;
      continue;
    }
    unsigned n = (unsigned)__builtin_ctz(stop);
    *odd |= high & ((1u << n) - 1) ? ODD_HIGH : 0;
    at += n;
    if (*at != '\t') return at;
    *odd |= ODD_TAB;
    at++;
  }
#endif
  for (; at < end; at++) {
    if (!http_is(*at, IS_VALUE)) return at;
    *odd |= *at == '\t' ? ODD_TAB : (unsigned char)*at >= 0x80 ? ODD_HIGH : 0;
  }
  return end;
}

bool http_is_field_value(struct span s) {
  unsigned odd = 0;
  return s.len == 0 || skip_value(s.ptr, s.ptr + s.len, &odd) == s.ptr + s.len;
}

/* ---- field lines ---- */

const struct http_fault HTTP_FAULT_LINE_END = {400, "bad_line_end",
                                               "a line of the head does not end in CRLF"};
const struct http_fault HTTP_FAULT_FOLDED = {400, "folded_field", "a line of the head starts with a blank"};
const struct http_fault HTTP_FAULT_TOO_MANY_FIELDS = {431, "too_many_fields",
                                                      "the head has more than 100 fields"};

static const struct http_fault FIELD_NAME = {400, "bad_field_name", "a field name is not a token"};
static const struct http_fault FIELD_BLANK = {400, "blank_before_colon",
                                              "a field name is followed by a blank"};
static const struct http_fault FIELD_COLON = {400, "missing_colon", "a line of the head has no colon"};
static const struct http_fault FIELD_VALUE = {400, "bad_field_value", "a field value holds a control byte"};

static const struct http_fault *name_fault(const char *name, const char *at, const char *end) {
  const char *colon = memchr(name, ':', (size_t)(end - name)), *cr = memchr(name, '\r', (size_t)(end - name));
  if (!colon || (cr && cr < colon)) return &FIELD_COLON;
  return at > name && (*at == ' ' || *at == '\t') ? &FIELD_BLANK : &FIELD_NAME;
}

static inline const char *skip_name(const char *at, const char *end) {
#if WIRE_SSE2
  if (end - at >= 16) {
    unsigned n = name_run16(at);
    at += n;
    if (n < 16 && *at == ':') return at;
  }
#endif
  while (at < end && http_is(*at, IS_TOKEN))
    at++;
  return at;
}

/* Whether a field of that kind could mean something about framing or the connection. */
static bool bears_on_framing(const struct http_field *f) {
  switch (f->id) {
  case HTTP_FIELD_TRANSFER_ENCODING:
  case HTTP_FIELD_UPGRADE:
  case HTTP_FIELD_EXPECT:
  case HTTP_FIELD_TE:
  case HTTP_FIELD_TRAILER:
  case HTTP_FIELD_PROXY_CONNECTION: return true;
  case HTTP_FIELD_CONNECTION:
    return !span_eq_nocase(f->value, SPAN("keep-alive")) && !span_eq_nocase(f->value, SPAN("close"));
  default: return false;
  }
}

/* One line at *at, which is not the empty one; *at moves behind it. */
static inline const struct http_fault *split_line(struct http_split *out, struct http_field *f,
                                                  const char **at, const char *end) {
  const char *name = *at;
  if (*name == ' ' || *name == '\t') return &HTTP_FAULT_FOLDED;
  if (out->n == HTTP_FIELDS_MAX) return &HTTP_FAULT_TOO_MANY_FIELDS;
  const char *colon = skip_name(name, end);
  if (colon == name || colon == end || *colon != ':') return name_fault(name, colon, end);
  unsigned odd = 0;
  const char *value = colon + 1, *stop = skip_value(value, end, &odd);
  if (stop < end && *stop != '\r' && *stop != '\n') return &FIELD_VALUE;
  if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n') return &HTTP_FAULT_LINE_END;
  f->name = span_make(name, (size_t)(colon - name));
  f->value = span_trim(span_make(value, (size_t)(stop - value)));
  f->id = http_field_id(f->name);
  if (UNLIKELY(odd || bears_on_framing(f))) out->is_plain = false;
  out->n++;
  *at = stop + 2;
  return NULL;
}

const struct http_fault *http_split_fields(struct http_split *out, struct http_field *fields,
                                           struct span lines) {
  const char *at = lines.ptr, *end = at + lines.len;
  const struct http_fault *fault = NULL;
  *out = (struct http_split){.is_plain = true};
  while (!fault && at < end)
    fault = split_line(out, &fields[out->n], &at, end);
  return fault;
}

size_t http_split_head(struct http_split *out, struct http_field *fields, struct span text) {
  const char *at = text.ptr, *end = at + text.len;
  *out = (struct http_split){.is_plain = true};
  while (end - at >= 2) {
    if (at[0] == '\r') return at[1] == '\n' ? (size_t)(at + 2 - text.ptr) : 0;
    if (out->n == HTTP_FIELDS_MAX || split_line(out, &fields[out->n], &at, end)) return 0;
  }
  return 0;
}

/* ---- how long the message is ---- */

static const struct http_fault LENGTH_TWICE = {400, "repeated_content_length",
                                               "there are two Content-Length fields"};
static const struct http_fault LENGTH_BAD = {400, "bad_content_length",
                                             "Content-Length is not a number of at most 18 digits"};
static const struct http_fault CODING_TWICE = {400, "repeated_transfer_encoding",
                                               "there are two Transfer-Encoding fields"};
static const struct http_fault CODING_BAD = {400, "bad_transfer_encoding",
                                             "Transfer-Encoding is not exactly \"chunked\""};
static const struct http_fault CODING_UNKNOWN = {501, "unknown_transfer_coding",
                                                 "the only transfer coding known here is \"chunked\""};
static const struct http_fault CODING_IN_1_0 = {400, "transfer_encoding_in_http_1_0",
                                                "HTTP/1.0 has no Transfer-Encoding"};
static const struct http_fault CODING_AND_LENGTH = {400, "conflicting_length",
                                                    "there are both Transfer-Encoding and Content-Length"};

const struct http_fault *http_read_lengths(struct http_reading *r, const struct http_field *fields) {
  struct span length = SPAN_NONE, coding = SPAN_NONE;
  r->has_length = r->is_chunked = false;
  r->length = 0;
  for (unsigned i = 0; i < r->n_fields; i++) {
    if (fields[i].id == HTTP_FIELD_CONTENT_LENGTH) {
      if (r->has_length) return &LENGTH_TWICE;
      r->has_length = true;
      length = fields[i].value;
    } else if (fields[i].id == HTTP_FIELD_TRANSFER_ENCODING) {
      if (r->is_chunked) return &CODING_TWICE;
      r->is_chunked = true;
      coding = fields[i].value;
    }
  }
  if (r->has_length && r->is_chunked) return &CODING_AND_LENGTH;
  if (r->has_length && (length.len > 18 || !span_to_u64(length, UINT64_MAX, &r->length))) return &LENGTH_BAD;
  if (!r->is_chunked) return NULL;
  if (r->minor == 0) return &CODING_IN_1_0;
  if (span_eq_nocase(coding, SPAN("chunked"))) return NULL;
  return http_is_token(coding) ? &CODING_UNKNOWN : &CODING_BAD;
}

static const struct http_fault CONNECTION_LONG = {400, "bad_connection",
                                                  "Connection names more fields than a head may have"};

const struct http_fault *http_check_connection(const struct http_field *fields, unsigned n) {
  unsigned commas = 0;
  for (unsigned i = 0; i < n; i++) {
    struct span left = fields[i].value;
    const char *comma;
    while (fields[i].id == HTTP_FIELD_CONNECTION && left.len && (comma = memchr(left.ptr, ',', left.len))) {
      if (++commas >= HTTP_FIELDS_MAX) return &CONNECTION_LONG;
      left = span_make(comma + 1, (size_t)(left.ptr + left.len - comma) - 1);
    }
  }
  return NULL;
}

bool http_is_persistent(unsigned minor, const struct http_field *fields, unsigned n) {
  bool closes = false, keeps = false;
  for (unsigned i = 0; i < n; i++) {
    if (fields[i].id != HTTP_FIELD_CONNECTION) continue;
    closes = closes || http_list_has(fields[i].value, SPAN("close"));
    keeps = keeps || http_list_has(fields[i].value, SPAN("keep-alive"));
  }
  return !closes && (minor >= 1 || keeps);
}
