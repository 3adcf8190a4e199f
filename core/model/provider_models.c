/* What a provider says it serves, by its model list: noted by control, read by whoever needs to know who has a model. */
#include "model/provider.h"

#include "base/base.h"

#include <stdlib.h>

static uint64_t models_version;

uint64_t provider_models_version(void) {
  return __atomic_load_n(&models_version, __ATOMIC_ACQUIRE);
}

void provider_set_models(struct provider *p, struct span names, bool is_whole) {
  char *copy = x_strndup(names.ptr ? names.ptr : "",
                         names.len < PROVIDER_MODELS_MAX ? names.len : PROVIDER_MODELS_MAX);
  REQUIRE(pthread_mutex_lock(&p->lock) == 0);
  char *old = p->models;
  bool is_same = p->is_models_cut == !is_whole && strcmp(old ? old : "", copy) == 0;
  p->models = copy;
  p->is_models_cut = !is_whole;
  REQUIRE(pthread_mutex_unlock(&p->lock) == 0);
  if (!is_same) (void)__atomic_fetch_add(&models_version, 1, __ATOMIC_RELEASE);
  free(old);
}

void provider_put_models(struct provider *p, struct buf *out) {
  REQUIRE(pthread_mutex_lock(&p->lock) == 0);
  if (p->models) buf_put_str(out, p->models);
  REQUIRE(pthread_mutex_unlock(&p->lock) == 0);
}

enum provider_listing provider_lists(struct provider *p, struct span model) {
  enum provider_listing said = PROVIDER_LISTS_NOTHING;
  REQUIRE(pthread_mutex_lock(&p->lock) == 0);
  for (const char *at = p->models; at && *at && said != PROVIDER_LISTS_IT;) {
    struct span name = span_make(at, strcspn(at, "\n"));
    if (name.len) said = span_eq(name, model) ? PROVIDER_LISTS_IT : PROVIDER_LISTS_OTHERS;
    at += name.len + (at[name.len] == '\n');
  }
  if (said == PROVIDER_LISTS_OTHERS && p->is_models_cut) said = PROVIDER_LISTS_NOTHING;
  REQUIRE(pthread_mutex_unlock(&p->lock) == 0);
  return said;
}
