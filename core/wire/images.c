/*
 * The path to an image has three brackets, each of which has one parent, so a level is enough: 1 the document, 2 its
 * member "data", 3 an element of that. Everything else is passed over by its brackets.
 */
#include "wire/images.h"

#define SLICE 4096 /* of base64 at a time */

enum state { BETWEEN, IN_STRING, IN_ESCAPE, IN_HEX };
enum string_kind { STRING_OTHER, STRING_NAME, STRING_IMAGE };

enum level { OUTSIDE, IN_DOCUMENT, IN_DATA, IN_ELEMENT };

void images_init(struct images *m) {
  memset(m, 0, sizeof *m);
  sha256_init(&m->list);
}

/* ---- one image ---- */

static void begin_image(struct images *m) {
  base64_decode_init(&m->base64);
  sha256_init(&m->image);
}

static void decode(struct images *m, const char *bytes, size_t len) {
  uint8_t out[BASE64_DECODE_LENGTH(SLICE)];
  while (len && !m->is_unfit) {
    size_t part = len < SLICE ? len : SLICE, n = 0;
    /* Blanks, which the decoder would pass over, are no base64 of a provider's. */
    for (size_t i = 0; i < part; i++)
      m->is_unfit |= (uint8_t)bytes[i] <= ' ';
    if (m->is_unfit || !base64_decode_update(&m->base64, &n, out, part, bytes)) {
      m->is_unfit = true;
      return;
    }
    sha256_update(&m->image, n, out);
    bytes += part;
    len -= part;
  }
}

static void end_image(struct images *m) {
  static const char digits[] = "0123456789abcdef";
  uint8_t hash[SHA256_DIGEST_SIZE], text[2 * SHA256_DIGEST_SIZE];
  if (!base64_decode_final(&m->base64) || m->has_image) {
    m->is_unfit = true;
    return;
  }
  sha256_digest(&m->image, sizeof hash, hash);
  for (size_t i = 0; i < sizeof hash; i++) {
    text[2 * i] = (uint8_t)digits[hash[i] >> 4];
    text[2 * i + 1] = (uint8_t)digits[hash[i] & 15];
  }
  if (m->n++) sha256_update(&m->list, 1, (const uint8_t *)",");
  sha256_update(&m->list, sizeof text, text);
  m->has_image = true;
}

/* ---- strings ---- */

/* Content of a string without escapes. */
static void take_content(struct images *m, const char *bytes, size_t len) {
  if (m->string_kind == STRING_IMAGE) {
    decode(m, bytes, len);
  } else if (m->string_kind == STRING_NAME) {
    for (size_t i = 0; i < len && m->name_len < IMAGES_NAME_MAX; i++)
      m->name[m->name_len++] = bytes[i];
  }
}

static void begin_string(struct images *m) {
  bool is_on_path = m->depth == m->level;
  m->state = IN_STRING;
  m->string_kind = STRING_OTHER;
  m->name_len = 0;
  m->is_unfit |= is_on_path && (m->level == IN_DATA || m->level == OUTSIDE);
  if (is_on_path && m->expects_name && m->level != IN_DATA) {
    m->string_kind = STRING_NAME;
  } else if (is_on_path && m->level == IN_ELEMENT && m->is_hit) {
    m->string_kind = STRING_IMAGE;
    begin_image(m);
  }
}

static bool is_name(const struct images *m, const char *name) {
  return span_eq(span_make(m->name, m->name_len), span_str(name));
}

static void end_string(struct images *m) {
  m->state = BETWEEN;
  if (m->string_kind == STRING_IMAGE) {
    end_image(m);
    m->is_hit = false;
  } else if (m->string_kind == STRING_NAME) {
    m->is_hit = is_name(m, m->level == IN_DOCUMENT ? "data" : "b64_json");
    if (m->is_hit && m->level == IN_DOCUMENT) {
      m->is_unfit |= m->has_data;
      m->has_data = true;
    }
  }
}

static void take_escape(struct images *m, char c) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  const char *at = c ? strchr(from, c) : NULL;
  m->state = IN_STRING;
  if (c == 'u') {
    m->state = IN_HEX;
    m->hex = m->hex_len = 0;
    return;
  }
  if (at) c = to[at - from];
  take_content(m, &c, 1);
}

static void take_hex(struct images *m, char c) {
  int digit = hex_digit(c);
  if (digit < 0) {
    m->is_unfit = true;
    return;
  }
  m->hex = (uint16_t)(m->hex << 4 | digit);
  if (++m->hex_len < 4) return;
  m->state = IN_STRING;
  /* Neither our names nor base64 have any other. */
  char out = m->hex < 0x80 ? (char)m->hex : '\x7f';
  take_content(m, &out, 1);
}

/* ---- brackets ---- */

static void open_bracket(struct images *m, char c) {
  bool is_on_path = m->depth == m->level;
  bool is_next = false;
  switch (m->level) {
  case OUTSIDE: is_next = c == '{' && m->n == 0 && !m->has_data; break;
  case IN_DOCUMENT: is_next = c == '[' && m->is_hit; break;
  case IN_DATA: is_next = c == '{'; break;
  default: break;
  }
  /* What stands where an image or its object should be. */
  if (is_on_path && !is_next && (m->level == IN_DATA || m->level == OUTSIDE || m->is_hit)) m->is_unfit = true;
  m->depth++;
  m->is_hit = false;
  if (!is_on_path || !is_next) return;
  m->level++;
  m->expects_name = true;
  if (m->level == IN_ELEMENT) m->has_image = false;
}

static void close_bracket(struct images *m) {
  if (m->depth == 0) {
    m->is_unfit = true;
    return;
  }
  m->depth--;
  if (m->level <= m->depth) return;
  if (m->level == IN_ELEMENT) m->is_unfit |= !m->has_image;
  m->level--;
  m->is_hit = false;
  m->expects_name = false; /* a comma comes first */
}

static void take_between(struct images *m, char c) {
  bool is_on_path = m->depth == m->level && m->depth > 0;
  switch (c) {
  case '"': begin_string(m); return;
  case '{':
  case '[': open_bracket(m, c); return;
  case '}':
  case ']': close_bracket(m); return;
  case ',':
    if (is_on_path) {
      m->expects_name = true;
      m->is_hit = false;
    }
    return;
  case ':':
    if (is_on_path) m->expects_name = false;
    return;
  case ' ':
  case '\t':
  case '\r':
  case '\n': return;
  default:
    /* Numbers and words: none of them is an image, nor an element of the list. */
    if (m->depth == m->level && (m->is_hit || m->level == IN_DATA || m->level == OUTSIDE)) m->is_unfit = true;
  }
}

void images_feed(struct images *m, const char *bytes, size_t len) {
  const char *end = bytes + len;
  while (bytes < end && !m->is_unfit) {
    if (m->state == BETWEEN) {
      take_between(m, *bytes++);
    } else if (m->state == IN_ESCAPE) {
      take_escape(m, *bytes++);
    } else if (m->state == IN_HEX) {
      take_hex(m, *bytes++);
    } else {
      const char *quote = memchr(bytes, '"', (size_t)(end - bytes));
      const char *stop = quote ? quote : end;
      const char *slash = memchr(bytes, '\\', (size_t)(stop - bytes));
      if (slash) stop = slash;
      take_content(m, bytes, (size_t)(stop - bytes));
      bytes = stop;
      if (bytes == end) return;
      if (*bytes++ == '"')
        end_string(m);
      else
        m->state = IN_ESCAPE;
    }
  }
}

bool images_digest(struct images *m, uint8_t out[IMAGES_DIGEST_BYTES]) {
  if (m->is_unfit || m->n == 0 || m->depth != 0 || m->state != BETWEEN) return false;
  struct sha256_ctx list = m->list;
  sha256_digest(&list, IMAGES_DIGEST_BYTES, out);
  return true;
}
