/*
 * answer_private: what answer.c (event streams, the whole) and answer_json.c (documents) share. Private to them.
 *
 * Thread: one.   Owner: the caller; all state is in its struct answer.
 */
#ifndef MOONGATE_WIRE_ANSWER_PRIVATE_H
#define MOONGATE_WIRE_ANSWER_PRIVATE_H

#include "wire/answer.h"
#include "wire/sse2.h"

#if !WIRE_SSE2
/* Not zero when a byte of the word is `c`. */
static inline uint64_t answer_word_has(uint64_t word, char c) {
  const uint64_t ones = 0x0101010101010101u;
  uint64_t x = word ^ (ones * (unsigned char)c);
  return (x - ones) & ~x & (ones << 7);
}
#endif

/* The first `a` or `b`, or `end`. */
static inline const char *answer_find(const char *at, const char *end, char a, char b) {
#if WIRE_SSE2
  const __m128i all_a = _mm_set1_epi8(a), all_b = _mm_set1_epi8(b);
  for (; end - at >= 16; at += 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i found = _mm_or_si128(_mm_cmpeq_epi8(bytes, all_a), _mm_cmpeq_epi8(bytes, all_b));
    unsigned mask = (unsigned)_mm_movemask_epi8(found);
    if (mask) return at + __builtin_ctz(mask);
  }
#else
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    if (answer_word_has(word, a) | answer_word_has(word, b)) break;
  }
#endif
  while (at < end && *at != a && *at != b)
    at++;
  return at;
}

/* ---- answer.c ---- */

/* Of an event that ends a stream: its name, or what its "type" says. */
bool answer_is_done_name(struct span name);

/* ---- answer_json.c ---- */

/* A new document begins, or the one in an event's data lines. */
void answer_json_reset(struct answer *a);
void answer_json_feed(struct answer *a, const char *at, const char *end);

#endif
