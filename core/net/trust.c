#include "net/trust.h"
#include "base/list.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trusted {
  struct list node;
  char *ca_file; /* NULL: the system's */
  X509_STORE *store;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = {&all, &all};

/* As `openssl rehash` names the certificates of a folder: 8 hexadecimal digits, a dot, a number. */
static bool is_hash_name(const char *name) {
  for (int i = 0; i < 8; i++)
    if (!isxdigit((unsigned char)name[i])) return false;
  return name[8] == '.' && name[9] && strspn(name + 9, "0123456789") == strlen(name + 9);
}

static void load_folder(X509_STORE *store, const char *folder) {
  DIR *d = opendir(folder);
  if (!d) return;
  for (const struct dirent *e; (e = readdir(d));) {
    char file[4096];
    if (!is_hash_name(e->d_name)) continue;
    int n = snprintf(file, sizeof file, "%s/%s", folder, e->d_name);
    if (n > 0 && (size_t)n < sizeof file) (void)X509_STORE_load_file(store, file);
  }
  (void)closedir(d);
}

static const char *place(const char *variable, const char *usual) {
  const char *named = secure_getenv(variable);
  return named ? named : usual;
}

/* One certificate that cannot be read is one that is not trusted; the others are. */
static void load_system(X509_STORE *store) {
  const char *file = place(X509_get_default_cert_file_env(), X509_get_default_cert_file());
  if (access(file, R_OK) == 0) (void)X509_STORE_load_file(store, file);
  char *folders = x_strdup(place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir()));
  char *rest = NULL;
  for (const char *f = strtok_r(folders, ":", &rest); f; f = strtok_r(NULL, ":", &rest))
    load_folder(store, f);
  free(folders);
}

static X509_STORE *load(const char *ca_file, char err[TRUST_ERROR_MAX]) {
  X509_STORE *store = X509_STORE_new();
  REQUIRE(store);
  if (!ca_file) {
    load_system(store);
  } else if (!X509_STORE_load_file(store, ca_file)) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    (void)snprintf(err, TRUST_ERROR_MAX, "the certificates to trust cannot be read: %s",
                   reason ? reason : "unknown error");
    X509_STORE_free(store);
    store = NULL;
  }
  ERR_clear_error();
  return store;
}

static bool is_of(const struct trusted *t, const char *ca_file) {
  return t->ca_file && ca_file ? strcmp(t->ca_file, ca_file) == 0 : t->ca_file == ca_file;
}

static X509_STORE *find_locked(const char *ca_file, char err[TRUST_ERROR_MAX]) {
  list_each(node, next, &all) {
    const struct trusted *t = container_of(node, struct trusted, node);
    if (is_of(t, ca_file)) return t->store;
  }
  X509_STORE *store = load(ca_file, err);
  if (!store) return NULL;
  struct trusted *t = x_calloc(1, sizeof *t);
  t->ca_file = ca_file ? x_strdup(ca_file) : NULL;
  t->store = store;
  list_push_back(&all, &t->node);
  return store;
}

X509_STORE *trust_find(const char *ca_file, char err[TRUST_ERROR_MAX]) {
  pthread_mutex_lock(&lock);
  X509_STORE *store = find_locked(ca_file, err);
  pthread_mutex_unlock(&lock);
  return store;
}

bool trust_prepare(const char *ca_file, char err[TRUST_ERROR_MAX]) {
  return trust_find(ca_file, err) != NULL;
}

void trust_release(void) {
  pthread_mutex_lock(&lock);
  for (struct list *node; (node = list_pop_front(&all));) {
    struct trusted *t = container_of(node, struct trusted, node);
    X509_STORE_free(t->store);
    free(t->ca_file);
    free(t);
  }
  pthread_mutex_unlock(&lock);
}
