/*
 * tls: one side of a TLS connection as bytes in and bytes out, by OpenSSL; it knows no sockets. Who owns the connection
 * gives it what came (tls_feed, then tls_read until there is no more) and sends what tls_output() has after each call.
 *
 * The peer's certificate must be valid for the host (RFC 9525) and lead to one that is trusted; there is no way around.
 * TLS 1.2 and 1.3. ALPN (RFC 7301) offers h2 and http/1.1.
 *
 * Thread: that of the context, which all its connections share.
 */
#ifndef MOONGATE_NET_TLS_H
#define MOONGATE_NET_TLS_H

#include "base/span.h"
#include "net/trust.h"

#include <sys/types.h>
#include <uv.h>

struct tls_context;
struct tls;
struct tls_ticket; /* what a later connection to the same host resumes */

/* What tls_write() may be given between two looks at tls_output(). */
#define TLS_WRITE_MAX 65536
#define TLS_ERROR_MAX TRUST_ERROR_MAX

/* `ca_file`: as trust_find() takes it. NULL with a text in err when it cannot be used. */
struct tls_context *tls_context_new(const char *ca_file, char err[TLS_ERROR_MAX]);
/* All its connections are freed. */
void tls_context_free(struct tls_context *c);
/* Bytes to be sent now, on the connection that was called last; taken by this call, valid until the next of any. */
struct span tls_output(struct tls_context *c);

/* `host`: a name or an address. `ticket`: where the newest ticket is kept, by the caller, who frees it; may hold one. */
struct tls *tls_new(struct tls_context *c, const char *host, struct tls_ticket **ticket);
/* Without a word to the peer. */
void tls_free(struct tls *t);
void tls_ticket_free(struct tls_ticket *ticket); /* or NULL */

/* Borrows the bytes until tls_read() or tls_handshake() has nothing more. Nothing may be left of those before. */
void tls_feed(struct tls *t, const char *bytes, size_t len);

enum tls_state { TLS_WANTS_MORE, TLS_IS_OPEN, TLS_HAS_FAILED };
enum tls_state tls_handshake(struct tls *t);
/* After TLS_HAS_FAILED: why, in words; valid until the next call of any. */
const char *tls_error(struct tls *t);
/* HTTP/2 was agreed upon. */
bool tls_is_h2(const struct tls *t);

/*
 * Once open. The number of bytes (> 0), 0 when there are none until more is fed, UV_EOF at the peer's farewell, UV_EPROTO
 * for what is no valid record.
 */
ssize_t tls_read(struct tls *t, char *out, size_t room);
/* Something was fed, or is half read, that tls_read() has not given yet. */
bool tls_has_more(const struct tls *t);
/* Once open: all of it, at most TLS_WRITE_MAX bytes. False: the connection is of no use. */
bool tls_write(struct tls *t, const uv_buf_t *bufs, unsigned n);
/* A farewell into the output. */
void tls_close(struct tls *t);

#endif
