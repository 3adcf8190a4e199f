/*
 * replay_main: runs a fuzz target without a fuzzer. Every file of a corpus folder goes in as it is, then
 * seeded mutations of them for some seconds; the same seed makes the same inputs in the same order. Prints
 * TAP.
 *
 * usage: fuzz_x FILE            one input, to repeat a finding
 *        fuzz_x FOLDER SECONDS
 * An input that ends the process is written to standard error as a line of hex.
 */
#include "base/rand.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX     65536
#define INPUT_SECONDS 10
#define MUTATIONS_MAX 2000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct input {
  char *name;
  uint8_t *bytes;
  size_t len;
};

static struct input *corpus;
static size_t corpus_n;

/* What runs now, for the report of a crash. */
static const uint8_t *current;
static size_t current_len;
static const char *current_name = "";

static void say(const char *text, size_t len) {
  ssize_t written = write(STDERR_FILENO, text, len);
  (void)written;
}

static void show_current(void) {
  static const char head[] = "# input that ended it, from ";
  say(head, sizeof head - 1);
  say(current_name, strlen(current_name));
  say(": ", 2);
  for (size_t i = 0; i < current_len; i++) {
    char hex[2] = {"0123456789abcdef"[current[i] >> 4], "0123456789abcdef"[current[i] & 15]};
    say(hex, 2);
  }
  say("\n", 1);
}

static void on_signal(int number) {
  show_current();
  (void)signal(number, SIG_DFL);
  (void)raise(number);
}

/* The target sees a block of exactly its size, so that a read past its end is noticed. */
static void run(const char *name, const uint8_t *bytes, size_t len) {
  uint8_t *copy = x_malloc(len);
  if (len) memcpy(copy, bytes, len);
  current = copy;
  current_len = len;
  current_name = name;
  alarm(INPUT_SECONDS);
  (void)LLVMFuzzerTestOneInput(copy, len);
  alarm(0);
  current_len = 0;
  free(copy);
}

static void corpus_add(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(2);
  }
  struct input in = {.name = x_strdup(path), .bytes = x_malloc(INPUT_MAX)};
  in.len = fread(in.bytes, 1, INPUT_MAX, file);
  (void)fclose(file);
  corpus = x_realloc(corpus, (corpus_n + 1) * sizeof *corpus);
  corpus[corpus_n++] = in;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static void corpus_read(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return;
  struct dirent *entry;
  while ((entry = readdir(folder))) {
    char name[4096];
    struct stat about;
    (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
    if (stat(name, &about) == 0 && S_ISREG(about.st_mode)) corpus_add(name);
  }
  (void)closedir(folder);
  if (corpus_n) qsort(corpus, corpus_n, sizeof *corpus, by_name);
}

/* ---- mutations ---- */

struct work {
  uint8_t bytes[INPUT_MAX];
  size_t len;
  struct rng rng;
};

static size_t below(struct work *w, size_t n) {
  return rng_below(&w->rng, (uint32_t)n);
}

/* Puts `len` bytes at `at`, moving the rest; what does not fit is dropped. */
static void insert(struct work *w, size_t at, const void *bytes, size_t len) {
  if (len > INPUT_MAX - w->len) return;
  memmove(w->bytes + at + len, w->bytes + at, w->len - at);
  memcpy(w->bytes + at, bytes, len);
  w->len += len;
}

static void cut(struct work *w, size_t at, size_t len) {
  memmove(w->bytes + at, w->bytes + at + len, w->len - at - len);
  w->len -= len;
}

/* Pieces of the formats that are parsed here, and what upsets readers of numbers and text. */
static const char *const PIECES[] = {
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    ":",
    " ",
    "\t",
    ",",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\u0000",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "-",
    "0",
    "1e999",
    "ffffffff",
    "2147483648",
    "18446744073709551616",
    "\xff",
    "\x80",
    "\xc3",
    "\xf4\x90",
    "\xed\xa0\x80",
    "data: ",
    "[DONE]",
    "chunked",
    "Content-Length: 1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "HTTP/1.1",
    "\"model\":",
    "\"stream\":",
    "\"id\":",
    "\"usage\":",
    ";",
    "%",
    "0x",
};

static void mutate_once(struct work *w) {
  size_t at = below(w, w->len + 1), left = w->len - at;
  size_t len = left ? 1 + below(w, left < 64 ? left : 64) : 0;
  switch (below(w, 9)) {
  case 0:
    if (left) w->bytes[at] ^= (uint8_t)(1u << below(w, 8));
    break;
  case 1:
    if (left) w->bytes[at] = (uint8_t)rng_u64(&w->rng);
    break;
  case 2: cut(w, at, len); break;
  case 3: {
    uint8_t again[64];
    memcpy(again, w->bytes + at, len);
    insert(w, below(w, w->len + 1), again, len);
    break;
  }
  case 4:
  case 5: {
    const char *piece = PIECES[below(w, ARRAY_LEN(PIECES))];
    insert(w, at, piece, strlen(piece));
    break;
  }
  case 6: {
    uint8_t zero = 0;
    insert(w, at, &zero, 1);
    break;
  }
  case 7: {
    const struct input *other = &corpus[below(w, corpus_n)];
    if (!other->len) break;
    size_t from = below(w, other->len), n = other->len - from;
    insert(w, at, other->bytes + from, n < 256 ? n : 256);
    break;
  }
  default:
    if (below(w, 4) == 0) w->len = at;
    break;
  }
}

static double now_s(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned long mutate_for(double seconds) {
  static struct work w;
  rng_seed(&w.rng, 20240601);
  double end = now_s() + seconds;
  unsigned long n = 0;
  while (n < MUTATIONS_MAX && (n % 64 != 0 || now_s() < end)) {
    const struct input *in = &corpus[below(&w, corpus_n)];
    if (in->len) memcpy(w.bytes, in->bytes, in->len);
    w.len = in->len;
    for (size_t i = 1 + below(&w, 6); i > 0; i--)
      mutate_once(&w);
    run(in->name, w.bytes, w.len);
    n++;
  }
  return n;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    (void)fprintf(stderr, "usage: %s FILE | FOLDER SECONDS\n", argv[0]);
    return 2;
  }
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(show_current);
  (void)signal(SIGABRT, on_signal);
  (void)signal(SIGALRM, on_signal);
  if (LLVMFuzzerInitialize) (void)LLVMFuzzerInitialize(&argc, &argv);

  struct stat about;
  double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
  if (stat(argv[1], &about) == 0 && S_ISREG(about.st_mode))
    corpus_add(argv[1]);
  else
    corpus_read(argv[1]);
  size_t n_files = corpus_n;
  for (size_t i = 0; i < corpus_n; i++)
    run(corpus[i].name, corpus[i].bytes, corpus[i].len);
  printf("ok 1 %zu files\n", n_files);

  if (corpus_n == 0) {
    corpus = x_malloc(sizeof *corpus);
    corpus[corpus_n++] = (struct input){.name = x_strdup("nothing"), .bytes = x_malloc(0)};
  }
  run("nothing", NULL, 0);
  unsigned long n = seconds > 0 ? mutate_for(seconds) : 0;
  printf("ok 2 %lu mutations\n1..2\n", n);
  for (size_t i = 0; i < corpus_n; i++) {
    free(corpus[i].name);
    free(corpus[i].bytes);
  }
  free(corpus);
  return 0;
}
