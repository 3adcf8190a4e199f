#include "check.h"

#include "net/trust.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/moongate-test-trust-XXXXXX";
static char err[TRUST_ERROR_MAX];

static const char *at(const char *name) {
  static char path[256];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void write_certificate(const char *name, const char *subject) {
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *x = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(x), -1000);
  X509_gmtime_adj(X509_getm_notAfter(x), 1000);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)subject, -1,
                             -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  X509_set_pubkey(x, key);
  X509_sign(x, key, EVP_sha256());
  FILE *f = fopen(at(name), "w");
  PEM_write_X509(f, x);
  (void)fclose(f);
  X509_free(x);
  EVP_PKEY_free(key);
}

static int n_certificates(const X509_STORE *store) {
  return sk_X509_OBJECT_num(X509_STORE_get0_objects(store));
}

static void the_systems_are_its_file_and_its_folders_by_hash(void) {
  write_certificate("bundle.pem", "first");
  write_certificate("01234567.0", "second");
  write_certificate("89abcdef.1", "third");
  write_certificate("third.pem", "a name, which nobody looks at");
  write_certificate("89abcdef.r0", "a list of revocations is called like this");
  setenv("SSL_CERT_FILE", at("bundle.pem"), 1);
  setenv("SSL_CERT_DIR", "/nowhere", 1);
  X509_STORE *store = trust_find(NULL, err);
  CHECK_INT(n_certificates(store), 1);
  trust_release();
  char both[600];
  (void)snprintf(both, sizeof both, "/nowhere:%s", folder);
  setenv("SSL_CERT_DIR", both, 1);
  store = trust_find(NULL, err);
  CHECK_INT(n_certificates(store), 3);
}

static void a_system_without_any_trusts_nobody(void) {
  setenv("SSL_CERT_FILE", at("there-is-none"), 1);
  setenv("SSL_CERT_DIR", "/nowhere", 1);
  X509_STORE *store = trust_find(NULL, err);
  CHECK(store);
  CHECK_INT(n_certificates(store), 0);
}

static void a_file_is_read_once(void) {
  write_certificate("own.pem", "own");
  char file[256];
  (void)snprintf(file, sizeof file, "%s", at("own.pem"));
  CHECK(trust_prepare(file, err));
  X509_STORE *store = trust_find(file, err);
  CHECK_INT(n_certificates(store), 1);
  CHECK_INT(unlink(file), 0);
  CHECK(trust_find(file, err) == store);
  CHECK(trust_find(NULL, err) != store);
}

static void a_file_that_is_none_is_named(void) {
  FILE *f = fopen(at("bad.pem"), "w");
  (void)fputs("no certificate\n", f);
  (void)fclose(f);
  CHECK(!trust_prepare(at("bad.pem"), err));
  CHECK(strstr(err, "the certificates to trust cannot be read: "));
  CHECK(!trust_find(at("there-is-none"), err));
}

static void clean(void) {
  static const char *const names[] = {"bundle.pem", "01234567.0",  "89abcdef.1",
                                      "third.pem",  "89abcdef.r0", "bad.pem"};
  trust_release();
  for (size_t i = 0; i < ARRAY_LEN(names); i++)
    (void)unlink(at(names[i]));
}

#define RUN_CLEAN(f)                                                                                         \
  do {                                                                                                       \
    RUN(f);                                                                                                  \
    clean();                                                                                                 \
  } while (0)

int main(void) {
  if (!mkdtemp(folder)) return 1;
  RUN_CLEAN(the_systems_are_its_file_and_its_folders_by_hash);
  RUN_CLEAN(a_system_without_any_trusts_nobody);
  RUN_CLEAN(a_file_is_read_once);
  RUN_CLEAN(a_file_that_is_none_is_named);
  (void)rmdir(folder);
  return CHECK_END();
}
