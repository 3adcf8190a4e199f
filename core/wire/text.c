#include "wire/text.h"

#if WIRE_SSE2
#  include <immintrin.h>

/* ---- SSE2: plain bytes alone ---- */

static const char *pass_plain(const char *at, const char *end) {
  const __m128i quotes = _mm_set1_epi8('"'), backslashes = _mm_set1_epi8('\\'), blanks = _mm_set1_epi8(' ');
  for (; end - at >= 64; at += 64) {
    __m128i found = _mm_setzero_si128();
#  pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
      __m128i either = _mm_or_si128(_mm_cmpeq_epi8(bytes, quotes), _mm_cmpeq_epi8(bytes, backslashes));
      found = _mm_or_si128(found, _mm_or_si128(either, _mm_cmplt_epi8(bytes, blanks)));
    }
    if (_mm_movemask_epi8(found)) break;
  }
  return at;
}

/* ---- AVX2 ---- */

#  define AVX2 __attribute__((target("avx2")))
/* The same 16 bytes in both halves, as a shuffle looks them up by the low four bits of each byte. */
#  define TABLE(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))

struct block {
  __m256i low, high; /* 32 bytes each */
};

AVX2 static inline __m256i load(const char *at) {
  return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

AVX2 static inline struct block load_block(const char *at) {
  return (struct block){load(at), load(at + 32)};
}

/* The top bits of 64 bytes. */
AVX2 static inline uint64_t tops(__m256i low, __m256i high) {
  return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

AVX2 static inline uint64_t equal(struct block b, char c) {
  __m256i all = _mm256_set1_epi8(c);
  return tops(_mm256_cmpeq_epi8(b.low, all), _mm256_cmpeq_epi8(b.high, all));
}

/*
 * Steps of 128 plain bytes. Control characters and bytes beyond ASCII are below a blank as signed numbers, so the least
 * of all bytes tells. Quotes and backslashes have low four bits of their own: what a table has for these is no
 * different from them, and no other byte is 0 after the comparison; again the least tells.
 */
AVX2 static const char *pass_plain_avx2(const char *at, const char *end) {
  const __m256i same = TABLE(-1, -1, '"', -1, -1, -1, -1, -1, -1, -1, -1, -1, '\\', -1, -1, -1);
  const __m256i blanks = _mm256_set1_epi8(' '), none = _mm256_setzero_si256();
  for (; end - at >= 128; at += 128) {
    __m256i least = blanks, differs = _mm256_set1_epi8(-1);
#  pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      __m256i bytes = load(at + 32 * i);
      least = _mm256_min_epi8(least, bytes);
      differs = _mm256_min_epu8(differs, _mm256_xor_si256(bytes, _mm256_shuffle_epi8(same, bytes)));
    }
    __m256i found = _mm256_or_si256(_mm256_cmpgt_epi8(blanks, least), _mm256_cmpeq_epi8(differs, none));
    if (_mm256_movemask_epi8(found)) break;
  }
  return at;
}

/* Letters that may follow a backslash, but for 'u'. */
AVX2 static inline uint64_t escape_letters(struct block b) {
  /* Of each low four bits the one letter that has them, or a byte that has others; 'r' shares them with 'b'. */
  const __m256i letters = TABLE(1, 0, 'b', 0, 't', 0, 'f', 0, 0, 0, 0, 0, '\\', 0, 'n', '/');
  __m256i low = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(letters, b.low), b.low);
  __m256i high = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(letters, b.high), b.high);
  return tops(low, high) | equal(b, 'r');
}

/*
 * Of backslashes that follow on each other, the first, third and so on begin an escape. Adding one to a run of bits
 * clears it; so the runs that begin at an even place are told from the others.
 */
static inline uint64_t escape_starts(uint64_t backslashes) {
  const uint64_t even = 0x5555555555555555u;
  uint64_t run_starts = backslashes & ~(backslashes << 1);
  uint64_t in_even = backslashes & ~(backslashes + (run_starts & even));
  return (in_even & even) | (backslashes & ~in_even & ~even);
}

/* ---- UTF-8: J. Keiser and D. Lemire, "Validating UTF-8 in less than one instruction per byte" ---- */

/* What two bytes next to each other are, if all of three looks at them agree. */
enum {
  SHORT = 1 << 0, /* a lead byte without a continuation */
  LONG = 1 << 1,  /* a continuation behind ASCII */
  LOW3 = 1 << 2,  /* three bytes where two would do */
  LARGE = 1 << 3, /* beyond U+10FFFF */
  HALF = 1 << 4,  /* half a surrogate pair */
  LOW2 = 1 << 5,  /* two bytes where one would do */
  LOW4 = 1 << 6,  /* four bytes where three would do; or beyond U+13FFFF */
  TWO = 1 << 7,   /* two continuations: right behind the lead of a long character alone */
  ANY = SHORT | LONG | TWO,
};

AVX2 static inline __m256i shifted(__m256i bytes) {
  return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
}

/* Not zero where a byte is not what those before it call for. `before`: the 32 bytes before these. */
AVX2 static inline __m256i utf8_errors(__m256i bytes, __m256i before) {
  const __m256i by_first =
      TABLE(LONG, LONG, LONG, LONG, LONG, LONG, LONG, LONG, (char)TWO, (char)TWO, (char)TWO, (char)TWO,
            SHORT | LOW2, SHORT, SHORT | LOW3 | HALF, SHORT | LARGE | LOW4);
  const __m256i by_first_low =
      TABLE((char)(ANY | LOW2 | LOW3 | LOW4), (char)(ANY | LOW2), (char)ANY, (char)ANY, (char)(ANY | LARGE),
            (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4),
            (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4),
            (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4 | HALF),
            (char)(ANY | LARGE | LOW4), (char)(ANY | LARGE | LOW4));
  const __m256i by_second =
      TABLE(SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, (char)(LONG | TWO | LOW2 | LOW3 | LOW4),
            (char)(LONG | TWO | LOW2 | LOW3 | LARGE), (char)(LONG | TWO | LOW2 | HALF | LARGE),
            (char)(LONG | TWO | LOW2 | HALF | LARGE), SHORT, SHORT, SHORT, SHORT);
  __m256i across = _mm256_permute2x128_si256(before, bytes, 0x21);
  __m256i first = _mm256_alignr_epi8(bytes, across, 15);
  __m256i agreed = _mm256_and_si256(
      _mm256_and_si256(_mm256_shuffle_epi8(by_first, shifted(first)),
                       _mm256_shuffle_epi8(by_first_low, _mm256_and_si256(first, _mm256_set1_epi8(15)))),
      _mm256_shuffle_epi8(by_second, shifted(bytes)));
  /* The third byte of three and four, and the fourth, are continuations behind one. */
  __m256i third =
      _mm256_subs_epu8(_mm256_alignr_epi8(bytes, across, 14), _mm256_set1_epi8((char)(0xE0 - 0x80)));
  __m256i fourth =
      _mm256_subs_epu8(_mm256_alignr_epi8(bytes, across, 13), _mm256_set1_epi8((char)(0xF0 - 0x80)));
  __m256i must = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)TWO));
  return _mm256_xor_si256(must, agreed);
}

/* How many bytes of a character that goes on behind `at` lie before it, in what is UTF-8 so far. */
static size_t begun_before(const char *at) {
  if ((unsigned char)at[-1] >= 0xC0) return 1;
  if ((unsigned char)at[-2] >= 0xE0) return 2;
  return (unsigned char)at[-3] >= 0xF0 ? 3 : 0;
}

AVX2 static const char *pass_usual_avx2(const char *at, const char *end, bool *has_escape) {
  const __m256i blanks = _mm256_set1_epi8(' ');
  __m256i before = _mm256_setzero_si256(); /* as good as ASCII: `at` is between two characters */
  uint64_t is_escaped = 0;                 /* 1: the block's first byte follows a backslash */
  size_t begun = 0;
  while (end - at >= 64) {
    struct block b = load_block(at);
    uint64_t quotes = equal(b, '"'), backslashes = equal(b, '\\'), beyond = tops(b.low, b.high);
    uint64_t odd = tops(_mm256_cmpgt_epi8(blanks, b.low), _mm256_cmpgt_epi8(blanks, b.high));
    if (!(quotes | backslashes | odd | is_escaped | begun)) {
      at = pass_plain_avx2(at + 64, end);
      continue;
    }
    if (beyond | begun) {
      if (!begun) before = _mm256_setzero_si256();
      __m256i errors = _mm256_or_si256(utf8_errors(b.low, before), utf8_errors(b.high, b.low));
      if (!_mm256_testz_si256(errors, errors)) break;
    }
    uint64_t stops = quotes | (odd & ~beyond), starts = 0, escaped = 0;
    if (backslashes | is_escaped) {
      starts = escape_starts(backslashes & ~is_escaped);
      escaped = starts << 1 | is_escaped;
      stops = (stops & ~(quotes & escaped)) | (escaped & ~(escape_letters(b) | quotes));
    }
    if (stops) {
      uint64_t first = stops & (0 - stops);
      *has_escape |= (escaped & (first - 1)) != 0;
      /* An escape that is none of the usual is stopped at from its backslash on. */
      return at + __builtin_ctzll(stops) - ((escaped & first) != 0);
    }
    *has_escape |= escaped != 0;
    is_escaped = starts >> 63;
    at += 64;
    begun = beyond ? begun_before(at) : 0;
    before = b.high;
  }
  return at - begun - is_escaped;
}

const char *text_pass_usual(const char *at, const char *end, bool *has_escape) {
  return __builtin_cpu_supports("avx2") ? pass_usual_avx2(at, end, has_escape) : pass_plain(at, end);
}

#else

const char *text_pass_usual(const char *at, const char *end, bool *has_escape) {
  (void)end;
  (void)has_escape;
  return at;
}

#endif
