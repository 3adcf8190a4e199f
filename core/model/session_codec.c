#include "model/session_codec.h"

#include "base/siphash.h"

#define VERSION   1
#define FIXED_LEN (5 + 32)

enum flag { DIGESTS = 1, REWRITABLE = 2, IMAGES = 4 };

/* Against damage, not against forgery: the file is the operator's own. */
static const struct siphash_key CHECK_KEY = {0x73657373696f6e73u, 0x6b65707420746869u};

static void put_u64(unsigned char *at, uint64_t n) {
  for (int i = 0; i < 8; i++)
    at[i] = (unsigned char)(n >> (8 * i));
}

static uint64_t get_u64(const unsigned char *at) {
  uint64_t n = 0;
  for (int i = 0; i < 8; i++)
    n |= (uint64_t)at[i] << (8 * i);
  return n;
}

static uint64_t checksum(struct span records) {
  return siphash(&CHECK_KEY, records.ptr, records.len);
}

int session_batch_begin(struct buf *b) {
  static const char head[SESSION_BATCH_HEAD] = {'M', 'G', 'S', 'B', VERSION};
  return buf_append(b, head, sizeof head);
}

int session_batch_add(struct buf *b, const struct session *s, uint64_t used_wall_ms) {
  const struct span texts[4] = {
      span_make(s->provider, strnlen(s->provider, SESSION_PROVIDER_MAX)),
      span_make(s->model, strnlen(s->model, SESSION_MODEL_MAX)),
      span_make(s->res_key, strnlen(s->res_key, SESSION_KEY_MAX)),
      span_make(s->id, strnlen(s->id, SESSION_KEY_MAX)),
  };
  int err = buf_reserve(b, SESSION_RECORD_MAX);
  if (err) return err;
  unsigned char fixed[FIXED_LEN];
  fixed[0] = (unsigned char)((s->has_digests ? DIGESTS : 0) | (s->is_rewritable ? REWRITABLE : 0) |
                             (s->has_digests && s->has_images ? IMAGES : 0));
  for (int i = 0; i < 4; i++)
    fixed[1 + i] = (unsigned char)texts[i].len;
  put_u64(fixed + 5, s->created_wall_ms);
  put_u64(fixed + 13, used_wall_ms);
  put_u64(fixed + 21, (uint64_t)s->tokens_in);
  put_u64(fixed + 29, (uint64_t)s->tokens_out);
  buf_put(b, fixed, sizeof fixed);
  if (s->has_digests) {
    buf_put(b, s->request_sha256, 32);
    buf_put(b, s->response_sha256, 32);
  }
  if (s->has_digests && s->has_images) buf_put(b, s->images_sha256, 32);
  for (int i = 0; i < 4; i++)
    buf_put_span(b, texts[i]);
  return 0;
}

void session_batch_end(struct buf *b) {
  REQUIRE(b->len >= SESSION_BATCH_HEAD);
  struct span records = span_make(b->data + SESSION_BATCH_HEAD, b->len - SESSION_BATCH_HEAD);
  put_u64((unsigned char *)b->data + 8, checksum(records));
}

int session_batch_open(struct span *records, struct span batch) {
  static const char head[8] = {'M', 'G', 'S', 'B', VERSION};
  *records = SPAN_NONE;
  if (batch.len < SESSION_BATCH_HEAD || memcmp(batch.ptr, head, sizeof head) != 0) return ERR_SYNTAX;
  struct span rest = span_make(batch.ptr + SESSION_BATCH_HEAD, batch.len - SESSION_BATCH_HEAD);
  if (get_u64((const unsigned char *)batch.ptr + 8) != checksum(rest)) return ERR_SYNTAX;
  *records = rest;
  return 0;
}

/* False: it is too long for its place, or holds what no key, id or name holds. */
static bool take_text(char *out, size_t max, struct span *from, size_t len) {
  if (len > max || memchr(from->ptr, '\0', len)) return false;
  memcpy(out, from->ptr, len);
  out[len] = '\0';
  from->ptr += len;
  from->len -= len;
  return true;
}

bool session_batch_next(struct span *records, struct session *out, uint64_t *used_wall_ms) {
  struct span at = *records;
  *records = SPAN_NONE;
  if (at.len < FIXED_LEN) return false;
  const unsigned char *fixed = (const unsigned char *)at.ptr;
  if (fixed[0] & ~(DIGESTS | REWRITABLE | IMAGES)) return false;
  size_t digests = fixed[0] & DIGESTS ? 64 : 0, images = fixed[0] & IMAGES ? 32 : 0;
  if (images && !digests) return false;
  size_t len = digests + images + fixed[1] + fixed[2] + fixed[3] + fixed[4];
  if (at.len - FIXED_LEN < len) return false;
  memset(out, 0, sizeof *out);
  out->has_digests = digests > 0;
  out->has_images = images > 0;
  out->is_rewritable = fixed[0] & REWRITABLE;
  out->created_wall_ms = get_u64(fixed + 5);
  *used_wall_ms = get_u64(fixed + 13);
  out->tokens_in = (int64_t)get_u64(fixed + 21);
  out->tokens_out = (int64_t)get_u64(fixed + 29);
  at.ptr += FIXED_LEN;
  at.len -= FIXED_LEN;
  if (digests) {
    memcpy(out->request_sha256, at.ptr, 32);
    memcpy(out->response_sha256, at.ptr + 32, 32);
    at.ptr += digests;
    at.len -= digests;
  }
  if (images) memcpy(out->images_sha256, at.ptr, images);
  at.ptr += images;
  at.len -= images;
  if (!take_text(out->provider, SESSION_PROVIDER_MAX, &at, fixed[1]) ||
      !take_text(out->model, SESSION_MODEL_MAX, &at, fixed[2]) ||
      !take_text(out->res_key, SESSION_KEY_MAX, &at, fixed[3]) ||
      !take_text(out->id, SESSION_KEY_MAX, &at, fixed[4]))
    return false;
  *records = at;
  return true;
}
