/*
 * check-vectors: runs the program's own functions over files of test vectors and says where they disagree.
 * Everything comes from the files; a kind of case that is not known is a failure, named as such.
 *
 * usage: check_vectors [--all] FOLDER      --all: a file that is missing is a failure
 * Prints each failing case, and last "N passed, N failed".
 */
#include "vectors.h"
#include "eth/hex.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct case_kind KINDS[] = {
    {"keccak256", "cases", CASES, keccak_case},
    {"addresses", "cases", CASES, address_case},
    {"addresses", "invalid_keys", CASES, invalid_key_case},
    {"addresses", "also_accepted", CASES, also_accepted_case},
    {"addresses", "parse", CASES, parse_case},
    {"eip191", "cases", CASES, personal_case},
    {"eip191", "raw_digests", CASES, raw_digest_case},
    {"eip191", "recover", CASES, recover_case},
    {"rlp", "cases", CASES, rlp_case},
    {"transactions", "cases", CASES, transaction_case},
    {"abi_calls", "cases", CASES, call_case},
    {"abi_calls", "selectors", CASES_BY_NAME, selector_case},
    {"abi_calls", "event_topics", CASES_BY_NAME, topic_case},
    {"abi_returns", "cases", CASES, return_case},
    {"abi_returns", "malformed", CASES, malformed_case},
    {"abi_errors", "cases", CASES, error_case},
    {"abi_errors", "generic", CASES, generic_error_case},
    {"abi_errors", "all_selectors", CASES_BY_NAME, error_selector_case},
    {"session_token", "cases", CASES, token_case},
    {"session_token", "sdk_limits", CASES, token_limit_case},
    {"session_token", "broker_account", CONTEXT, NULL},
    {"session_token", "broker_verdicts", CASES, token_verdict_case},
    {"response_verification", "cases", CASES, verification_case},
    {"response_verification", "signers", CONTEXT, NULL},
    {"fees", "cases", CASES, fee_case},
};

static unsigned long n_passed, n_failed;

/* ---- running ---- */

static void settle(bool is_good, const char *file, const char *list, const char *name,
                   const struct failure *why) {
  if (is_good) {
    n_passed++;
    return;
  }
  n_failed++;
  printf("FAIL %s.json %s \"%s\": %s\n", file, list, name, why->text);
}

static void run_one(const struct case_kind *kind, json_t *value, const char *key, json_t *file, size_t i) {
  static const char *const names[] = {"name", "function", "error", "text", "digest"};
  char number[32];
  const char *name = key;
  struct failure why = {.text = "it gives no reason"};
  for (size_t n = 0; !name && n < ARRAY_LEN(names); n++)
    name = json_string_value(json_object_get(value, names[n]));
  if (!name) {
    (void)snprintf(number, sizeof number, "number %zu", i + 1);
    name = number;
  }
  settle(kind->run(&why, value, key, file), kind->file, kind->list, name, &why);
}

static void run_by_name(const struct case_kind *kind, json_t *object, json_t *file) {
  const char *contract, *key;
  json_t *inner, *value;
  json_object_foreach(object, contract, inner) {
    if (!json_is_object(inner)) {
      settle(false, kind->file, kind->list, contract, &(struct failure){"it is no object of names"});
      continue;
    }
    json_object_foreach(inner, key, value) run_one(kind, value, key, file, 0);
  }
}

static void run_list(const struct case_kind *kind, json_t *list, json_t *file) {
  size_t i;
  json_t *value;
  if (kind->shape == CONTEXT) return;
  if (json_is_array(list) && kind->shape == CASES)
    json_array_foreach(list, i, value) run_one(kind, value, NULL, file, i);
  else if (json_is_object(list) && kind->shape == CASES_BY_NAME)
    run_by_name(kind, list, file);
  else if (json_is_object(list))
    run_one(kind, list, NULL, file, 0);
  else
    settle(false, kind->file, kind->list, kind->list, &(struct failure){"it is no list of cases"});
}

static const struct case_kind *find_kind(const char *file, const char *list) {
  for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
    if (strcmp(KINDS[i].file, file) == 0 && (!list || strcmp(KINDS[i].list, list) == 0)) return &KINDS[i];
  return NULL;
}

/* Texts tell people about the file, and so does "made_with". */
static bool is_about(const char *name, json_t *value) {
  return json_is_string(value) || strcmp(name, "made_with") == 0;
}

static void run_file(const char *folder, const char *file) {
  char path[4096];
  const char *list;
  json_error_t error;
  json_t *value;
  (void)snprintf(path, sizeof path, "%s/%s.json", folder, file);
  json_t *all = json_load_file(path, JSON_ALLOW_NUL, &error);
  struct failure why;
  if (!json_is_object(all)) {
    (void)fail(&why, "line %d: %s", error.line, all ? "no object at the top" : error.text);
    settle(false, file, "", file, &why);
    json_decref(all);
    return;
  }
  unsigned long before = n_passed + n_failed;
  json_object_foreach(all, list, value) {
    const struct case_kind *kind = find_kind(file, list);
    if (kind)
      run_list(kind, value, all);
    else if (!is_about(list, value))
      settle(false, file, list, list, &(struct failure){"unknown kind of case"});
  }
  if (n_passed + n_failed == before) settle(false, file, "", file, &(struct failure){"it has no case"});
  json_decref(all);
}

/* ---- the folder ---- */

static bool has_file(const char *folder, const char *file) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/%s.json", folder, file);
  FILE *f = fopen(path, "rb");
  if (f) (void)fclose(f);
  return f != NULL;
}

static void find_unknown(const char *folder) {
  DIR *d = opendir(folder);
  if (!d) {
    settle(false, folder, "", folder, &(struct failure){"it cannot be opened"});
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(d))) {
    char name[256];
    size_t len = strlen(entry->d_name);
    if (len < 6 || len >= sizeof name || strcmp(entry->d_name + len - 5, ".json") != 0) continue;
    (void)snprintf(name, sizeof name, "%.*s", (int)len - 5, entry->d_name);
    if (!find_kind(name, NULL)) settle(false, name, "", name, &(struct failure){"unknown kind of vectors"});
  }
  (void)closedir(d);
}

int main(int argc, char **argv) {
  bool wants_all = argc == 3 && strcmp(argv[1], "--all") == 0;
  if (argc != 2 + wants_all) {
    (void)fprintf(stderr, "usage: %s [--all] FOLDER\n", argv[0]);
    return 2;
  }
  const char *folder = argv[argc - 1], *before = "";
  unsigned n_files = 0;
  for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
    const char *file = KINDS[i].file;
    if (strcmp(file, before) == 0) continue;
    before = file;
    if (has_file(folder, file)) {
      n_files++;
      run_file(folder, file);
    } else if (wants_all) {
      settle(false, file, "", file, &(struct failure){"the file is missing"});
    } else {
      printf("missing: %s/%s.json, so nothing of it was checked\n", folder, file);
    }
  }
  find_unknown(folder);
  if (n_files == 0) settle(false, folder, "", folder, &(struct failure){"none of the files is there"});
  printf("%lu passed, %lu failed\n", n_passed, n_failed);
  return n_failed != 0;
}
