#include "net/tls.h"
#include "base/buf.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <time.h>

#define RECORD_MAX   16384
#define TICKET_AGE_S 600
/* Records around TLS_WRITE_MAX bytes, and whatever a handshake says. */
#define OUTPUT_MAX ((size_t)4 * TLS_WRITE_MAX)

struct tls_context {
  SSL_CTX *ssl;
  BIO_METHOD *pipe;
  struct buf out;
  const struct tls *speaker; /* whose bytes these are */
  bool is_overfull;
  char record[RECORD_MAX]; /* scratch: pieces that leave as one record */
};

struct tls {
  SSL *ssl;
  struct tls_context *context;
  struct tls_ticket **ticket;
  struct span in;
  char error[TLS_ERROR_MAX];
};

/*
 * A session that no connection has used: OpenSSL 3.0 marks one that was resumed as used up, and lets the ticket of the new
 * connection inherit the mark. So each gets a copy, which shares the certificates, several KiB, with all others.
 */
struct tls_ticket {
  SSL_SESSION *session;
};

/* ---- bytes between OpenSSL and us ---- */

static int pipe_write(BIO *b, const char *bytes, int len) {
  struct tls *t = BIO_get_data(b);
  struct tls_context *c = t->context;
  BIO_clear_retry_flags(b);
  REQUIRE(c->out.len == 0 || c->speaker == t);
  c->speaker = t;
  if (len > 0 && buf_append(&c->out, bytes, (size_t)len)) {
    c->is_overfull = true;
    return -1;
  }
  return len;
}

static int pipe_read(BIO *b, char *out, int room) {
  struct tls *t = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  if (t->in.len == 0) {
    BIO_set_retry_read(b);
    return -1;
  }
  size_t n = t->in.len < (size_t)room ? t->in.len : (size_t)room;
  memcpy(out, t->in.ptr, n);
  t->in.ptr += n;
  t->in.len -= n;
  return (int)n;
}

static long pipe_control(BIO *b, int what, long number, void *p) {
  (void)b;
  (void)number;
  (void)p;
  return what == BIO_CTRL_FLUSH;
}

/* ---- the context ---- */

/* Through bytes, which have neither mark nor history. */
static SSL_SESSION *unused(SSL_SESSION *session) {
  unsigned char *bytes = NULL;
  int len = i2d_SSL_SESSION(session, &bytes);
  const unsigned char *at = bytes;
  SSL_SESSION *copy = len > 0 ? d2i_SSL_SESSION(NULL, &at, len) : NULL;
  OPENSSL_clear_free(bytes, len > 0 ? (size_t)len : 0);
  return copy;
}

static bool is_worn(SSL_SESSION *session) {
  long age_s = (long)time(NULL) - SSL_SESSION_get_time(session);
  long life_s = (long)SSL_SESSION_get_ticket_lifetime_hint(session);
  return age_s < 0 || age_s > TICKET_AGE_S || (life_s > 0 && age_s > life_s / 2);
}

/* One serves many connections; a new one is taken when it was refused, or has come to some age. */
static int on_ticket(SSL *ssl, SSL_SESSION *session) {
  struct tls *t = SSL_get_app_data(ssl);
  struct tls_ticket *before = *t->ticket;
  if (before && SSL_session_reused(ssl) && !is_worn(before->session)) return 0;
  SSL_SESSION *copy = unused(session);
  if (!copy) return 0;
  tls_ticket_free(before);
  *t->ticket = x_malloc(sizeof **t->ticket);
  (*t->ticket)->session = copy;
  return 0; /* `session` stays OpenSSL's */
}

static void resume(SSL *ssl, const struct tls_ticket *ticket) {
  SSL_SESSION *copy = SSL_SESSION_dup(ticket->session);
  if (!copy) return;
  (void)SSL_set_session(ssl, copy);
  SSL_SESSION_free(copy);
}

static bool set_up(struct tls_context *c, const char *ca_file, char err[TLS_ERROR_MAX]) {
  static const unsigned char protocols[] = "\x02h2\x08http/1.1";
  c->ssl = SSL_CTX_new(TLS_client_method());
  c->pipe = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "moongate");
  REQUIRE(c->ssl && c->pipe);
  REQUIRE(BIO_meth_set_write(c->pipe, pipe_write) && BIO_meth_set_read(c->pipe, pipe_read) &&
          BIO_meth_set_ctrl(c->pipe, pipe_control));
  REQUIRE(SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION));
  REQUIRE(SSL_CTX_set_alpn_protos(c->ssl, protocols, sizeof protocols - 1) == 0);
  SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
  /* The buffers of a connection at rest, 34 KiB, go back. */
  (void)SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
  (void)SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  (void)SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(c->ssl, on_ticket);
  X509_STORE *trusted = trust_find(ca_file, err);
  if (trusted) SSL_CTX_set1_cert_store(c->ssl, trusted);
  return trusted != NULL;
}

struct tls_context *tls_context_new(const char *ca_file, char err[TLS_ERROR_MAX]) {
  struct tls_context *c = x_calloc(1, sizeof *c);
  buf_init(&c->out, OUTPUT_MAX);
  if (set_up(c, ca_file, err)) return c;
  tls_context_free(c);
  return NULL;
}

void tls_context_free(struct tls_context *c) {
  SSL_CTX_free(c->ssl);
  BIO_meth_free(c->pipe);
  buf_release(&c->out);
  wipe(c->record, sizeof c->record);
  free(c);
}

/* It stays until something is written again. */
struct span tls_output(struct tls_context *c) {
  struct span out = buf_span(&c->out);
  buf_clear(&c->out);
  c->is_overfull = false;
  return out;
}

/* ---- a connection ---- */

static void set_host(SSL *ssl, const char *host) {
  unsigned char address[16];
  X509_VERIFY_PARAM *rules = SSL_get0_param(ssl);
  if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
    REQUIRE(X509_VERIFY_PARAM_set1_ip_asc(rules, host));
    return;
  }
  X509_VERIFY_PARAM_set_hostflags(rules,
                                  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  REQUIRE(X509_VERIFY_PARAM_set1_host(rules, host, 0));
  REQUIRE(SSL_set_tlsext_host_name(ssl, host));
}

struct tls *tls_new(struct tls_context *c, const char *host, struct tls_ticket **ticket) {
  struct tls *t = x_calloc(1, sizeof *t);
  t->context = c;
  t->ticket = ticket;
  t->ssl = SSL_new(c->ssl);
  BIO *b = BIO_new(c->pipe);
  REQUIRE(t->ssl && b);
  BIO_set_data(b, t);
  BIO_set_init(b, 1);
  SSL_set_bio(t->ssl, b, b);
  REQUIRE(SSL_set_app_data(t->ssl, t));
  set_host(t->ssl, host);
  if (*ticket) resume(t->ssl, *ticket);
  SSL_set_connect_state(t->ssl);
  return t;
}

void tls_free(struct tls *t) {
  if (t->context->speaker == t) buf_clear(&t->context->out); /* nobody else's to send */
  SSL_free(t->ssl);
  free(t);
}

void tls_ticket_free(struct tls_ticket *ticket) {
  if (ticket) SSL_SESSION_free(ticket->session);
  free(ticket);
}

void tls_feed(struct tls *t, const char *bytes, size_t len) {
  t->in = span_make(bytes, len);
}

static void note_error(struct tls *t) {
  long verdict = SSL_get_verify_result(t->ssl);
  const char *reason = ERR_reason_error_string(ERR_peek_error());
  if (verdict != X509_V_OK)
    (void)snprintf(t->error, sizeof t->error, "its certificate is not good: %s",
                   X509_verify_cert_error_string(verdict));
  else
    (void)snprintf(t->error, sizeof t->error, "TLS: %s", reason ? reason : "the connection failed");
}

enum tls_state tls_handshake(struct tls *t) {
  ERR_clear_error();
  int r = SSL_do_handshake(t->ssl);
  if (r == 1) return TLS_IS_OPEN;
  if (SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ) return TLS_WANTS_MORE;
  note_error(t);
  return TLS_HAS_FAILED;
}

const char *tls_error(struct tls *t) {
  return t->error;
}

bool tls_is_h2(const struct tls *t) {
  const unsigned char *protocol;
  unsigned len;
  SSL_get0_alpn_selected(t->ssl, &protocol, &len);
  return len == 2 && memcmp(protocol, "h2", 2) == 0;
}

ssize_t tls_read(struct tls *t, char *out, size_t room) {
  size_t n;
  ERR_clear_error();
  if (SSL_read_ex(t->ssl, out, room, &n)) return (ssize_t)n;
  switch (SSL_get_error(t->ssl, 0)) {
  case SSL_ERROR_WANT_READ: return 0;
  case SSL_ERROR_ZERO_RETURN: return UV_EOF;
  default: note_error(t); return UV_EPROTO;
  }
}

bool tls_has_more(const struct tls *t) {
  return t->in.len > 0 || SSL_has_pending(t->ssl);
}

static bool write_record(struct tls *t, const char *bytes, size_t len) {
  size_t n;
  ERR_clear_error();
  return SSL_write_ex(t->ssl, bytes, len, &n) && n == len && !t->context->is_overfull;
}

bool tls_write(struct tls *t, const uv_buf_t *bufs, unsigned n) {
  struct tls_context *c = t->context;
  size_t used = 0;
  for (unsigned i = 0; i < n; i++) {
    struct span left = span_make(bufs[i].base, bufs[i].len);
    while (left.len) {
      size_t take = left.len < RECORD_MAX - used ? left.len : RECORD_MAX - used;
      memcpy(c->record + used, left.ptr, take);
      used += take;
      left = span_make(left.ptr + take, left.len - take);
      if (used < RECORD_MAX) break;
      if (!write_record(t, c->record, used)) return false;
      used = 0;
    }
  }
  return used == 0 || write_record(t, c->record, used);
}

void tls_close(struct tls *t) {
  ERR_clear_error();
  if (SSL_is_init_finished(t->ssl)) (void)SSL_shutdown(t->ssl);
}
