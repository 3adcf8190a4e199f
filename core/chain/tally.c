#include "chain/tally.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC   UINT64_C(0x796c6c61742e676d)
#define VERSION 1

struct page {
  uint64_t magic;
  uint32_t version, size; /* of a copy: another program's layout is not read */
  uint32_t current;
  struct funding_spent copies[2];
};

struct tally {
  int fd;
  bool is_mapped;
  struct page *page; /* mapped, or `own` */
  struct page own;
};

static void make_empty(struct page *p) {
  *p = (struct page){.magic = MAGIC, .version = VERSION, .size = sizeof(struct funding_spent)};
}

static struct page *map(int fd) {
  void *at = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

int tally_make(void) {
  int fd = memfd_create("moongate-tally", MFD_CLOEXEC);
  if (fd < 0) return -1;
  struct page *p = ftruncate(fd, sizeof(struct page)) == 0 ? map(fd) : NULL;
  if (!p) {
    (void)close(fd);
    return -1;
  }
  make_empty(p);
  (void)munmap(p, sizeof *p);
  return fd;
}

/* What was handed on, if it is one. */
static bool take(struct tally *t, int fd) {
  struct stat st;
  struct page *p = fstat(fd, &st) == 0 && st.st_size == sizeof(struct page) ? map(fd) : NULL;
  if (!p) return false;
  if (p->magic != MAGIC || p->version != VERSION || p->size != sizeof(struct funding_spent) ||
      p->current > 1) {
    (void)munmap(p, sizeof *p);
    return false;
  }
  t->fd = fd;
  t->page = p;
  t->is_mapped = true;
  return true;
}

struct tally *tally_open(int fd) {
  struct tally *t = x_calloc(1, sizeof *t);
  t->fd = -1;
  if (fd >= 0 && take(t, fd)) return t;
  if (fd >= 0) {
    log_warn("autoFunding: what was moved before this process cannot be read: its max counts from here");
    (void)close(fd);
  }
  fd = tally_make();
  if (fd >= 0 && take(t, fd)) return t;
  if (fd >= 0) (void)close(fd);
  make_empty(&t->own);
  t->page = &t->own;
  return t;
}

void tally_close(struct tally *t) {
  if (!t) return;
  if (t->is_mapped) (void)munmap(t->page, sizeof *t->page);
  if (t->fd >= 0) (void)close(t->fd);
  free(t);
}

int tally_fd(const struct tally *t) {
  return t->fd;
}

static bool lock(const struct tally *t, short type) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
  return t->fd < 0 || fcntl(t->fd, F_SETLK, &l) == 0;
}

bool tally_take_turn(struct tally *t) {
  return lock(t, F_WRLCK);
}

void tally_give_turn(struct tally *t) {
  (void)lock(t, F_UNLCK);
}

void tally_read(const struct tally *t, struct funding_spent *out) {
  uint32_t current = __atomic_load_n(&t->page->current, __ATOMIC_ACQUIRE);
  *out = t->page->copies[current & 1];
}

void tally_write(struct tally *t, const struct funding_spent *spent) {
  uint32_t other = !t->page->current;
  t->page->copies[other] = *spent;
  __atomic_store_n(&t->page->current, other, __ATOMIC_RELEASE);
}
