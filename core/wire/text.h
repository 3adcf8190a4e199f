/*
 * text: runs of bytes as strings in JSON have them. Finds where the bytes end that mean themselves, tells well-formed
 * UTF-8, and passes long strings block by block where the processor can. No state but the caller's.
 *
 * Thread: any.
 */
#ifndef MOONGATE_WIRE_TEXT_H
#define MOONGATE_WIRE_TEXT_H

#include "base/span.h"
#include "wire/sse2.h"

/* What is left to pass is worth blocks, and how much of it is looked at singly before that is tried again. */
#define TEXT_BLOCKS_MIN 192
#define TEXT_BLOCKS_GAP 128

/* Means itself in a string: neither a quote, a backslash, a control character nor a byte beyond ASCII. */
static inline bool text_is_plain(char c) {
  return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

#if WIRE_SSE2
/* One bit per byte that is not plain. */
static inline unsigned text_not_plain16(const char *at) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
  __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
  __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  /* Signed: bytes from 0x80 on are negative, so one comparison finds them and the control characters. */
  __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(' '));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(quote, backslash)));
}
#endif

/* The first byte that is not plain; `end` when there is none. */
static inline const char *text_plain_end(const char *at, const char *end) {
#if WIRE_SSE2
  for (; end - at >= 16; at += 16) {
    unsigned mask = text_not_plain16(at);
    if (mask) return at + __builtin_ctz(mask);
  }
#else
  const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    /* May flag a byte above the first true one, never miss one; the bytes are looked at singly below. */
    if (((word - ones * 0x20) | (quote - ones) | (backslash - ones) | word) & highs) break;
  }
#endif
  while (at < end && text_is_plain(*at))
    at++;
  return at;
}

/*
 * Passes the front of a string's bytes as far as there is nothing to say about them: plain ones, whole characters beyond
 * ASCII that are well-formed, and escapes of one letter. May stop anywhere before the end of these, also at once, but
 * always between two characters. *has_escape: set when escapes were passed.
 */
const char *text_pass_usual(const char *at, const char *end, bool *has_escape);

static inline bool text_is_continuation(char c) {
  return ((unsigned char)c & 0xC0) == 0x80;
}

/* The length of the well-formed sequence (Unicode table 3-7) that starts with this byte >= 0x80; 0: none. */
static inline size_t text_utf8_len(const char *at, const char *end) {
  unsigned char lead = (unsigned char)at[0];
  size_t left = (size_t)(end - at);
  if (lead < 0xC2 || lead > 0xF4 || left < 2 || !text_is_continuation(at[1])) return 0;
  if (lead < 0xE0) return 2;
  unsigned char second = (unsigned char)at[1];
  if (left < 3 || !text_is_continuation(at[2])) return 0;
  if (lead < 0xF0) {
    bool is_overlong = lead == 0xE0 && second < 0xA0, is_surrogate = lead == 0xED && second >= 0xA0;
    return is_overlong || is_surrogate ? 0 : 3;
  }
  if (left < 4 || !text_is_continuation(at[3])) return 0;
  bool is_overlong = lead == 0xF0 && second < 0x90, is_beyond = lead == 0xF4 && second >= 0x90;
  return is_overlong || is_beyond ? 0 : 4;
}

/*
 * Behind a run of characters beyond ASCII, or behind that one of them which reaches `enough`; at the bad byte when the
 * run is not UTF-8.
 */
static inline const char *text_beyond_ascii_end(const char *at, const char *end, const char *enough) {
  while (at < enough && (unsigned char)*at >= 0x80) {
    /* Most of the world's three-byte characters need no more than this. */
    unsigned char lead = (unsigned char)*at;
    if (lead > 0xE0 && lead < 0xED && end - at >= 3 && text_is_continuation(at[1]) &&
        text_is_continuation(at[2])) {
      at += 3;
      continue;
    }
    size_t len = text_utf8_len(at, end);
    if (!len) break;
    at += len;
  }
  return at;
}

#endif
