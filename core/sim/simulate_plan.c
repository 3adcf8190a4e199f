/* simulate_plan: the configuration around a simulated strategy. Nothing of the environment enters it. */
#include "sim/simulate_private.h"

#include "base/clock.h"
#include "base/spelling.h"
#include "script/preset.h"

#include <errno.h>
#include <stdio.h>
#include <math.h>
#include <stdlib.h>

#define STRATEGY_MAX ((size_t)1 << 20)

static bool is_path(const char *strategy) {
  return strchr(strategy, '/') || span_ends(span_str(strategy), SPAN(".lua"));
}

static bool read_strategy(struct plan *plan, const char *path, char err[SCRIPT_ERROR_MAX]) {
  char *text = x_malloc(STRATEGY_MAX + 1);
  FILE *f = fopen(path, "rbe");
  size_t n = f ? fread(text, 1, STRATEGY_MAX + 1, f) : 0;
  int wrong = !f || ferror(f) ? -errno : n > STRATEGY_MAX ? ERR_TOO_LARGE : 0;
  if (f) (void)fclose(f);
  if (wrong) {
    (void)snprintf(err, SCRIPT_ERROR_MAX, "%s: %s", path, err_text(wrong));
    free(text);
    return false;
  }
  plan->strategy_path = x_strdup(path);
  plan->strategy_source = span_make(text, n);
  return true;
}

/* The preset that may have been meant, with the words around it. */
static void put_suggestion(char *out, size_t size, const char *name) {
  unsigned least = UINT32_MAX;
  struct span preset;
  for (size_t i = 0; (preset = preset_name(i)).ptr; i++) {
    char text[PRESET_NAME_MAX];
    span_to_text(text, sizeof text, preset);
    unsigned distance = spelling_distance(name, text);
    if (distance >= least || !spelling_is_near(name, distance)) continue;
    least = distance;
    (void)snprintf(out, size, "; did you mean \"%s\"?", text);
  }
}

static bool find_strategy(struct plan *plan, const char *strategy, char err[SCRIPT_ERROR_MAX]) {
  char name[PRESET_NAME_MAX], suggestion[128] = "";
  struct span preset = preset_find(strategy);
  if (preset.ptr) span_to_text(name, sizeof name, preset);
  plan->strategy_name = x_strdup(preset.ptr ? name : strategy);
  if (is_path(strategy)) return read_strategy(plan, strategy, err);
  if (preset.ptr) return true;
  put_suggestion(suggestion, sizeof suggestion, strategy);
  (void)snprintf(err, SCRIPT_ERROR_MAX,
                 "\"%.100s\" is no preset%s (a file of your own is written as a path, \"./%.100s.lua\")",
                 strategy, suggestion, strategy);
  return false;
}

static char **copy_list(char **list) {
  size_t n = 0;
  while (list && list[n])
    n++;
  char **copy = x_calloc(n + 1, sizeof *copy);
  for (size_t i = 0; i < n; i++)
    copy[i] = x_strdup(list[i]);
  return copy;
}

/* Those under the strategy's name; for a file that is the name without folder and .lua. */
static char *copy_options(const struct scenario *s, const char *strategy) {
  const char *slash = strrchr(strategy, '/');
  struct span name = span_str(slash ? slash + 1 : strategy);
  if (span_ends(name, SPAN(".lua"))) name.len -= 4;
  for (unsigned i = 0; i < s->n_options; i++)
    if (span_eq(span_str(s->options[i].name), name)) return x_strdup(s->options[i].text);
  return NULL;
}

struct plan *simulate_plan(const struct scenario *s, const char *strategy, char err[SCRIPT_ERROR_MAX]) {
  struct plan *plan = plan_new();
  plan->entries = x_calloc(s->n_providers, sizeof *plan->entries);
  plan->n_entries = s->n_providers;
  for (unsigned i = 0; i < s->n_providers; i++) {
    const struct scenario_provider *spec = &s->providers[i];
    struct plan_entry *e = &plan->entries[i];
    e->provider = provider_new(spec->id, PROVIDER_DIRECT, clock_mono_ms());
    e->weight = spec->weight;
    e->priority = spec->priority;
    e->model = spec->model ? x_strdup(spec->model) : NULL;
    e->tags = copy_list(spec->tags);
    e->has_price = !isnan(spec->price_in) && !isnan(spec->price_out);
    e->price_in = spec->price_in;
    e->price_out = spec->price_out;
  }
  plan->settings.max_retries = s->max_retries;
  plan->settings.health_interval_ms = s->health_interval_ms;
  plan->strategy_options = copy_options(s, strategy);
  plan->generation = 1;
  if (!find_strategy(plan, strategy, err)) {
    plan_unref(&plan);
    return NULL;
  }
  plan_seal(plan);
  return plan;
}
