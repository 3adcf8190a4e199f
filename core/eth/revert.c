#include "eth/revert.h"

#include <stdio.h>

static const struct known {
  uint32_t selector;
  const char *signature, *words;
} KNOWN[] = {
#define KNOWN_(name, selector, signature, words) [REVERT_##name] = {selector, signature, words},
    REVERT_ERRORS(KNOWN_)
#undef KNOWN_
};

/* ---- reading ---- */

/* The next type of a signature's list: *at stands behind '(' or ','. False at the end. */
static bool next_type(enum revert_arg_type *type, const char **at) {
  if (**at == ')') return false;
  *type = **at == 'a' ? REVERT_ARG_ADDRESS : **at == 's' ? REVERT_ARG_STRING : REVERT_ARG_NUMBER;
  *at += strcspn(*at, ",)");
  *at += **at == ',';
  return true;
}

static int read_arg(struct revert_arg *out, struct abi_reader *r) {
  switch (out->type) {
  case REVERT_ARG_ADDRESS: return abi_address(&out->address, r);
  case REVERT_ARG_STRING: return abi_string(&out->string, r);
  default: return abi_u256(&out->number, r);
  }
}

static bool read_args(struct revert *out, const char *types, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  enum revert_arg_type type;
  if (*types == ')') return true;
  if (abi_open(&r, &d, data.ptr, data.len)) return false;
  while (next_type(&type, &types)) {
    REQUIRE(out->n_args < REVERT_ARGS_MAX);
    struct revert_arg *arg = &out->args[out->n_args++];
    arg->type = type;
    if (read_arg(arg, &r)) return false;
  }
  return true;
}

void revert_read(struct revert *out, struct span data) {
  *out = (struct revert){.id = data.len ? REVERT_UNKNOWN : REVERT_NO_DATA};
  if (data.len < ABI_SELECTOR_BYTES) return;
  for (size_t i = 0; i < ABI_SELECTOR_BYTES; i++)
    out->selector = out->selector << 8 | (uint8_t)data.ptr[i];
  /* Some nodes and proxies pad or cut what they pass on: what is no whole word belongs to no argument. */
  size_t words = (data.len - ABI_SELECTOR_BYTES) / ABI_WORD;
  struct span args = span_make(data.ptr + ABI_SELECTOR_BYTES, words * ABI_WORD);
  for (size_t id = REVERT_UNKNOWN + 1; id < ARRAY_LEN(KNOWN); id++) {
    if (KNOWN[id].selector != out->selector) continue;
    size_t n_name = strcspn(KNOWN[id].signature, "(");
    if (!read_args(out, KNOWN[id].signature + n_name + 1, args)) {
      *out = (struct revert){.id = REVERT_UNKNOWN, .selector = out->selector};
      return;
    }
    out->id = (enum revert_id)id;
    out->signature = KNOWN[id].signature;
    out->name = span_make(out->signature, n_name);
    return;
  }
}

/* ---- words ---- */

struct line {
  char *text;
  size_t len;
};

static void put(struct line *l, struct span s) {
  size_t room = REVERT_TEXT_MAX - l->len, n = s.len < room ? s.len : room;
  /* Not in the middle of a character. */
  if (n < s.len)
    while (n > 0 && ((uint8_t)s.ptr[n] & 0xc0) == 0x80)
      n--;
  if (n) memcpy(l->text + l->len, s.ptr, n);
  l->len += n;
}

/* Texts of strangers: control characters, also those of two bytes (U+0080 … U+009F), become blanks. */
static void put_foreign(struct line *l, struct span s) {
  for (size_t i = 0; i < s.len && l->len < REVERT_TEXT_MAX; i++) {
    uint8_t c = (uint8_t)s.ptr[i];
    bool is_c1 = c == 0xc2 && i + 1 < s.len && (uint8_t)s.ptr[i + 1] < 0xa0;
    if (c >= 0x20 && c != 0x7f && !is_c1) {
      size_t n = 1;
      while (i + n < s.len && ((uint8_t)s.ptr[i + n] & 0xc0) == 0x80)
        n++;
      put(l, span_make(s.ptr + i, n));
      i += n - 1;
      continue;
    }
    put(l, SPAN(" "));
    i += is_c1;
  }
}

static const char *panic_words(struct u256 code) {
  switch (u256_to_u64(code)) {
  case 0x01: return "an assertion failed";
  case 0x11: return "arithmetic overflow";
  case 0x12: return "division by zero";
  case 0x21: return "a value that its enum does not have";
  case 0x22: return "damaged storage";
  case 0x31: return "pop of an empty array";
  case 0x32: return "an index out of range";
  case 0x41: return "too much memory";
  case 0x51: return "a function that was not set";
  default: return NULL;
  }
}

/* `is_amount` tells that the number is neuron; the unit is written by the caller's words. */
static void put_arg(struct line *l, const struct revert_arg *arg, bool is_amount) {
  char text[U256_0G_MAX];
  if (arg->type == REVERT_ARG_STRING) {
    put_foreign(l, arg->string);
  } else if (arg->type == REVERT_ARG_ADDRESS) {
    address_text(text, &arg->address);
    put(l, span_make(text, ADDRESS_TEXT_LEN));
  } else if (is_amount) {
    size_t len = u256_0g_text(text, arg->number);
    put(l, span_make(text, len - (sizeof " 0G" - 1)));
  } else {
    put(l, span_make(text, u256_text(text, arg->number)));
  }
}

static void put_words(struct line *l, const struct revert *r, const char *words) {
  while (*words) {
    size_t n = strcspn(words, "$");
    put(l, span_make(words, n));
    words += n;
    if (!*words) break;
    size_t i = (size_t)(words[1] - '1');
    REQUIRE(i < r->n_args);
    words += 2;
    put_arg(l, &r->args[i], span_starts(span_str(words), SPAN(" 0G")));
  }
}

size_t revert_text(char out[REVERT_TEXT_MAX + 1], const struct revert *r) {
  struct line l = {.text = out};
  const char *panic = r->id == REVERT_PANIC ? panic_words(r->args[0].number) : NULL;
  if (r->id == REVERT_NO_DATA) {
    put(&l, SPAN("the contract refused without giving a reason"));
  } else if (r->id == REVERT_UNKNOWN) {
    char hex[9];
    (void)snprintf(hex, sizeof hex, "%08x", (unsigned)r->selector);
    put(&l, SPAN("the contract refused with an error that is not known (selector 0x"));
    put(&l, span_str(hex));
    put(&l, SPAN(")"));
  } else if (r->id == REVERT_REASON && r->args[0].string.len == 0) {
    put(&l, SPAN("the contract refused with an empty reason"));
  } else {
    if (r->id != REVERT_REASON) {
      put(&l, r->name);
      put(&l, SPAN(": "));
    }
    if (panic)
      put(&l, span_str(panic));
    else
      put_words(&l, r, KNOWN[r->id].words);
  }
  out[l.len] = '\0';
  return l.len;
}
