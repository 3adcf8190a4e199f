/*
 * trust: the certificates that vouch for providers. They are read from disk once and shared by all threads, so that no
 * handshake waits for a disk, nor for the parsing of a hundred certificates.
 *
 * What the disk holds later is not seen before the next start.
 *
 * Thread: any. A first call for a file blocks for milliseconds; trust_prepare() is for whoever may wait.
 */
#ifndef MOONGATE_NET_TRUST_H
#define MOONGATE_NET_TRUST_H

#include "base/base.h"

#include <openssl/types.h>

#define TRUST_ERROR_MAX 160

/*
 * `ca_file`: PEM, in place of the system's certificates; NULL: the system's, where OpenSSL and its environment
 * (SSL_CERT_FILE, SSL_CERT_DIR) say they are. Borrowed until trust_release(); NULL with a text in err when the file
 * cannot be used. A system without any trusts nobody, which is no error.
 */
X509_STORE *trust_find(const char *ca_file, char err[TRUST_ERROR_MAX]);
bool trust_prepare(const char *ca_file, char err[TRUST_ERROR_MAX]) MUST_CHECK;
/* At the end of the process; whoever holds a reference of OpenSSL's keeps what it uses. */
void trust_release(void);

#endif
