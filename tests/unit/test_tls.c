#include "check.h"

#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <unistd.h>

/* A server by OpenSSL in memory, and ours as its client. */

enum { DAY = 86400 };

static char ca_path[] = "/tmp/moongate-test-tls-XXXXXX";
static EVP_PKEY *key;
static SSL_CTX *server_context;
static SSL *server;
static struct tls_context *context;
static struct tls_ticket *ticket;
static struct tls *client;

static X509 *certificate(const char *names, long from_s, long to_s) {
  X509 *x = X509_new();
  (void)X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
  X509_gmtime_adj(X509_getm_notBefore(x), from_s);
  X509_gmtime_adj(X509_getm_notAfter(x), to_s);
  X509_NAME *name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
  X509_set_issuer_name(x, name);
  X509_set_pubkey(x, key);
  X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
  X509_add_ext(x, e, -1);
  X509_EXTENSION_free(e);
  X509_sign(x, key, EVP_sha256());
  return x;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *wanted) {
  (void)ssl;
  const unsigned char *own = wanted;
  return SSL_select_next_proto((unsigned char **)out, out_len, own, (unsigned)strlen((const char *)own), in,
                               in_len) == OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_NOACK;
}

static void close_client(void) {
  if (client) tls_free(client);
  client = NULL;
  SSL_free(server);
  server = NULL;
}

static void close_all(void) {
  close_client();
  tls_ticket_free(ticket);
  ticket = NULL;
  if (context) tls_context_free(context);
  context = NULL;
  SSL_CTX_free(server_context);
  server_context = NULL;
  trust_release(); /* the next certificate has the file of this one */
}

static void connect_to(const char *host) {
  close_client();
  server = SSL_new(server_context);
  SSL_set_bio(server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(server);
  client = tls_new(context, host, &ticket);
}

/* `protocol`: what the server wants, as ALPN has it; NULL: nothing. */
static void serve(X509 *x, bool is_trusted, const char *protocol, int version) {
  close_all();
  server_context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate(server_context, x);
  SSL_CTX_use_PrivateKey(server_context, key);
  if (version) SSL_CTX_set_max_proto_version(server_context, version);
  if (protocol) SSL_CTX_set_alpn_select_cb(server_context, choose_protocol, (void *)(uintptr_t)protocol);
  FILE *f = fopen(ca_path, "w");
  PEM_write_X509(f, x);
  (void)fclose(f);
  X509_free(x);
  char err[TLS_ERROR_MAX] = "";
  context = tls_context_new(is_trusted ? ca_path : NULL, err);
  CHECK_STR(err, strlen(err), "");
  CHECK(context);
}

static void to_server(void) {
  struct span out = tls_output(context);
  if (out.len) CHECK_INT(BIO_write(SSL_get_rbio(server), out.ptr, (int)out.len), (int)out.len);
}

/* Borrowed by the client until it has read it. */
static size_t from_server(char *out, size_t room) {
  int n = BIO_read(SSL_get_wbio(server), out, (int)room);
  return n > 0 ? (size_t)n : 0;
}

static enum tls_state shake(void) {
  static char bytes[65536];
  enum tls_state state = tls_handshake(client);
  for (int i = 0; i < 10 && state == TLS_WANTS_MORE; i++) {
    to_server();
    (void)SSL_do_handshake(server);
    tls_feed(client, bytes, from_server(bytes, sizeof bytes));
    state = tls_handshake(client);
  }
  to_server();
  if (state == TLS_IS_OPEN) {
    (void)SSL_do_handshake(server);
    char nothing[16];
    tls_feed(client, bytes, from_server(bytes, sizeof bytes));
    CHECK_INT(tls_read(client, nothing, sizeof nothing), 0); /* tickets are no data */
    CHECK(!tls_has_more(client));
  }
  ERR_clear_error();
  return state;
}

static ssize_t answer(const char *text, char *out, size_t room) {
  static char bytes[65536];
  if (text) CHECK(SSL_write(server, text, (int)strlen(text)) > 0);
  tls_feed(client, bytes, from_server(bytes, sizeof bytes));
  return tls_read(client, out, room);
}

static void bytes_go_both_ways(void) {
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
    serve(certificate("DNS:localhost", -DAY, DAY), true, NULL, versions[i]);
    connect_to("localhost");
    CHECK_INT(shake(), TLS_IS_OPEN);
    CHECK(!tls_is_h2(client));
    CHECK_INT(SSL_version(server), versions[i]);
    char text[64];
    uv_buf_t pieces[] = {uv_buf_init("to ", 3), uv_buf_init("", 0), uv_buf_init("the server", 10)};
    CHECK(tls_write(client, pieces, ARRAY_LEN(pieces)));
    to_server();
    int n = SSL_read(server, text, sizeof text);
    CHECK_STR(text, (size_t)(n > 0 ? n : 0), "to the server");
    ssize_t got = answer("and back", text, sizeof text);
    CHECK_STR(text, (size_t)(got > 0 ? got : 0), "and back");
    CHECK_INT(answer(NULL, text, sizeof text), 0);
  }
}

static void many_bytes_arrive_whole(void) {
  serve(certificate("DNS:localhost", -DAY, DAY), true, NULL, 0);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  static char sent[TLS_WRITE_MAX], got[TLS_WRITE_MAX];
  for (size_t i = 0; i < sizeof sent; i++)
    sent[i] = (char)(i * 31 + i / 256);
  /* Pieces that end before, at and behind the ends of records. */
  uv_buf_t pieces[] = {uv_buf_init(sent, 1), uv_buf_init(sent + 1, 16383), uv_buf_init(sent + 16384, 20000),
                       uv_buf_init(sent + 36384, sizeof sent - 36384)};
  CHECK(tls_write(client, pieces, ARRAY_LEN(pieces)));
  to_server();
  size_t len = 0;
  for (int n; (n = SSL_read(server, got + len, (int)(sizeof got - len))) > 0;)
    len += (size_t)n;
  CHECK_INT(len, sizeof sent);
  CHECK(memcmp(sent, got, sizeof sent) == 0);
}

static void names_and_addresses_are_checked(void) {
  static const struct {
    const char *names, *host;
    bool is_good;
  } cases[] = {
      {"DNS:localhost", "localhost", true},
      {"DNS:localhost", "127.0.0.1", false},
      {"IP:127.0.0.1", "127.0.0.1", true},
      {"IP:127.0.0.1", "localhost", false},
      {"IP:::1", "::1", true},
      {"DNS:127.0.0.1", "127.0.0.1", false},
      {"DNS:*.example.org", "a.example.org", true},
      {"DNS:*.example.org", "a.b.example.org", false},
      {"DNS:*.example.org", "example.org", false},
      {"DNS:a*.example.org", "ab.example.org", false},
      {"DNS:other.example", "test", false}, /* the subject's common name is no name of a host */
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    serve(certificate(cases[i].names, -DAY, DAY), true, NULL, 0);
    connect_to(cases[i].host);
    enum tls_state state = shake();
    CHECK_INT(state, cases[i].is_good ? TLS_IS_OPEN : TLS_HAS_FAILED);
    if (!cases[i].is_good) CHECK(strstr(tls_error(client), "mismatch"));
  }
}

static void times_and_trust_are_checked(void) {
  static const struct {
    long from_s, to_s;
    bool is_trusted;
    const char *why;
  } cases[] = {
      {-2 * DAY, -DAY, true, "certificate has expired"},
      {DAY, 2 * DAY, true, "certificate is not yet valid"},
      {-DAY, DAY, false, "self-signed certificate"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    serve(certificate("DNS:localhost", cases[i].from_s, cases[i].to_s), cases[i].is_trusted, NULL, 0);
    connect_to("localhost");
    CHECK_INT(shake(), TLS_HAS_FAILED);
    CHECK(strstr(tls_error(client), cases[i].why));
  }
}

static void http2_is_told(void) {
  serve(certificate("DNS:localhost", -DAY, DAY), true, "\x02h2", 0);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  CHECK(tls_is_h2(client));
  serve(certificate("DNS:localhost", -DAY, DAY), true, "\x08http/1.1", 0);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  CHECK(!tls_is_h2(client));
}

static void every_later_connection_resumes(void) {
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
    serve(certificate("DNS:localhost", -DAY, DAY), true, NULL, versions[i]);
    for (int round = 0; round < 5; round++) {
      connect_to("localhost");
      CHECK_INT(shake(), TLS_IS_OPEN);
      CHECK_INT(SSL_session_reused(server), round > 0);
      CHECK(ticket);
    }
  }
}

static void a_farewell_and_garbage_are_told_apart(void) {
  char text[64];
  serve(certificate("DNS:localhost", -DAY, DAY), true, NULL, 0);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  (void)SSL_shutdown(server);
  CHECK_INT(answer(NULL, text, sizeof text), UV_EOF);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  tls_close(client);
  to_server();
  CHECK_INT(SSL_read(server, text, sizeof text), 0);
  CHECK_INT(SSL_get_shutdown(server) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
  connect_to("localhost");
  CHECK_INT(shake(), TLS_IS_OPEN);
  tls_feed(client, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
  CHECK_INT(tls_read(client, text, sizeof text), UV_EPROTO);
  connect_to("localhost");
  CHECK_INT(tls_handshake(client), TLS_WANTS_MORE);
  (void)tls_output(context);
  tls_feed(client, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
  CHECK_INT(tls_handshake(client), TLS_HAS_FAILED);
  CHECK(strstr(tls_error(client), "TLS: "));
  (void)tls_output(context);
}

static void what_cannot_be_trusted_is_named(void) {
  char err[TLS_ERROR_MAX] = "";
  CHECK(!tls_context_new("/no/such/file.pem", err));
  CHECK(strstr(err, "cannot be read"));
}

int main(void) {
  int fd = mkstemp(ca_path);
  if (fd >= 0) (void)close(fd);
  key = EVP_EC_gen("P-256");
  RUN(bytes_go_both_ways);
  RUN(many_bytes_arrive_whole);
  RUN(names_and_addresses_are_checked);
  RUN(times_and_trust_are_checked);
  RUN(http2_is_told);
  RUN(every_later_connection_resumes);
  RUN(a_farewell_and_garbage_are_told_apart);
  RUN(what_cannot_be_trusted_is_named);
  close_all();
  EVP_PKEY_free(key);
  (void)unlink(ca_path);
  return CHECK_END();
}
