#include "daemon/watch.h"
#include "base/buf.h"
#include "base/siphash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX (4u * 1024 * 1024)

static const struct siphash_key KEY = {0x7761746368206f6eu, 0x6c79206368616e67u};

/* False: it is not there, or no file. All zero then, so that its coming back is a change. */
static bool look_at(const char *path, uint64_t look[6]) {
  struct stat st;
  memset(look, 0, 6 * sizeof *look);
  if (stat(path, &st) || !S_ISREG(st.st_mode)) return false;
  look[0] = (uint64_t)st.st_size;
  look[1] = (uint64_t)st.st_mtim.tv_sec;
  look[2] = (uint64_t)st.st_mtim.tv_nsec;
  look[3] = (uint64_t)st.st_ino;
  look[4] = (uint64_t)st.st_dev;
  look[5] = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec;
  return true;
}

/* 0 when it cannot be read. */
static uint64_t hash_content(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return 0;
  struct buf text;
  buf_init(&text, READ_MAX);
  char piece[16384];
  ssize_t n;
  while ((n = read(fd, piece, sizeof piece)) > 0)
    if (buf_append(&text, piece, (size_t)n)) break;
  (void)close(fd);
  uint64_t hash = siphash(&KEY, text.data, text.len) | 1;
  /* A configuration may have a key written in it. */
  wipe(piece, sizeof piece);
  if (text.len) wipe(text.data, text.len);
  buf_release(&text);
  return hash;
}

static bool has_changed(struct watched_file *f) {
  uint64_t look[6];
  bool is_there = look_at(f->path, look);
  if (memcmp(look, f->look, sizeof look) != 0) {
    memcpy(f->look, look, sizeof look);
    f->is_settling = is_there;
    return false;
  }
  if (!f->is_settling) return false;
  f->is_settling = false;
  uint64_t content = hash_content(f->path);
  if (content == 0 || content == f->content) return false;
  f->content = content;
  return true;
}

static void on_look(struct wheel_timer *t) {
  struct watch *w = container_of(t, struct watch, timer);
  bool changed = false;
  for (unsigned i = 0; i < w->n_files; i++)
    changed = has_changed(&w->files[i]) || changed;
  loop_timer_start(w->loop, &w->timer, on_look, WATCH_LOOK_MS);
  if (changed) w->on_change(w);
}

void watch_init(struct watch *w, struct loop *loop, void (*on_change)(struct watch *w), void *context) {
  *w = (struct watch){.loop = loop, .on_change = on_change, .context = context};
}

void watch_files(struct watch *w, const char *const *paths, unsigned n) {
  struct watched_file before[WATCH_FILES_MAX];
  unsigned n_before = w->n_files;
  memcpy(before, w->files, sizeof before);
  w->n_files = 0;
  for (unsigned i = 0; i < n && w->n_files < WATCH_FILES_MAX; i++) {
    if (!paths[i] || strlen(paths[i]) >= sizeof w->files[0].path) continue;
    struct watched_file *f = &w->files[w->n_files++];
    *f = (struct watched_file){0};
    memcpy(f->path, paths[i], strlen(paths[i]) + 1);
    unsigned k = 0;
    while (k < n_before && strcmp(before[k].path, f->path) != 0)
      k++;
    if (k < n_before) {
      *f = before[k]; /* what came since the last look is not forgotten */
      continue;
    }
    (void)look_at(f->path, f->look);
    f->content = hash_content(f->path);
  }
  if (w->n_files)
    loop_timer_start(w->loop, &w->timer, on_look, WATCH_LOOK_MS);
  else
    loop_timer_stop(w->loop, &w->timer);
}

void watch_stop(struct watch *w) {
  w->n_files = 0;
  if (w->loop) loop_timer_stop(w->loop, &w->timer);
}
