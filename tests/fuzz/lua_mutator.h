/*
 * Mutations of configuration and scenario files that leave them Lua: a number becomes another one, a word another word,
 * an entry of a list stands there twice. Half of the mutations are libFuzzer's own, for the rest of the language.
 * Included by one target each, which gets LLVMFuzzerCustomMutator.
 */
#ifndef MOONGATE_FUZZ_LUA_MUTATOR_H
#define MOONGATE_FUZZ_LUA_MUTATOR_H

#include "base/rand.h"

#include <string.h>

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* libFuzzer's own; the program that replays a corpus has mutations of its own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

#define LUA_TOKENS_MAX 512

struct lua_token {
  size_t at, len;
};

static bool is_number_byte(uint8_t c) {
  return (c >= '0' && c <= '9') || c == '.';
}

static bool is_word_byte(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Numbers and words, as far as bytes tell. */
static size_t lua_tokens(struct lua_token *out, const uint8_t *data, size_t size) {
  size_t n = 0;
  for (size_t at = 0, len; at < size && n < LUA_TOKENS_MAX; at += len ? len : 1) {
    bool (*is_part)(uint8_t) = is_number_byte(data[at]) ? is_number_byte : is_word_byte;
    len = 0;
    while (at + len < size && is_part(data[at + len]))
      len++;
    if (len) out[n++] = (struct lua_token){at, len};
  }
  return n;
}

static size_t lua_replace(uint8_t *data, size_t size, size_t max, struct lua_token t, const void *text,
                          size_t len) {
  if (size - t.len + len > max) return size;
  memmove(data + t.at + len, data + t.at + t.len, size - t.at - t.len);
  memcpy(data + t.at, text, len);
  return size - t.len + len;
}

/* From one comma or brace to the next. */
static size_t lua_repeat(uint8_t *data, size_t size, size_t max, struct lua_token t) {
  uint8_t copy[512];
  size_t from = t.at, to = t.at;
  while (from > 0 && data[from - 1] != ',' && data[from - 1] != '{')
    from--;
  while (to < size && data[to] != ',' && data[to] != '}')
    to++;
  size_t len = to - from;
  if (len + 1 > sizeof copy) return size;
  memcpy(copy, data + from, len);
  copy[len] = ',';
  return lua_replace(data, size, max, (struct lua_token){from, 0}, copy, len + 1);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  static const char *const numbers[] = {
      "0",     "1",   "2",  "3",    "10",  "100", "1000", "65536",   "0.5", "1.5",  "1e9", "9e15",
      "1e308", "0/0", "-1", "2^53", "256", "257", "'1'",  "0x10000", "nil", "1e-9", "{}",  "function() end"};
  static struct lua_token tokens[LUA_TOKENS_MAX];
  struct rng rng;
  rng_seed(&rng, seed);
  size_t n = lua_tokens(tokens, data, size);
  if (n == 0 || rng_below(&rng, 2)) return LLVMFuzzerMutate(data, size, max);
  struct lua_token t = tokens[rng_below(&rng, (uint32_t)n)];
  if (rng_below(&rng, 4) == 0) return lua_repeat(data, size, max, t);
  if (is_number_byte(data[t.at])) {
    const char *number = numbers[rng_below(&rng, ARRAY_LEN(numbers))];
    return lua_replace(data, size, max, t, number, strlen(number));
  }
  struct lua_token other = tokens[rng_below(&rng, (uint32_t)n)];
  uint8_t word[64];
  if (other.len > sizeof word) return size;
  memcpy(word, data + other.at, other.len);
  return lua_replace(data, size, max, t, word, other.len);
}

#endif
