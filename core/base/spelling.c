#include "base/spelling.h"

#include "base/span.h"

unsigned spelling_distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  if (n > SPELLING_FAR || m > SPELLING_FAR) return SPELLING_FAR;
  unsigned rows[3][SPELLING_FAR + 1];
  for (size_t k = 0; k <= m; k++)
    rows[0][k] = (unsigned)k;
  for (size_t i = 1; i <= n; i++) {
    unsigned *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    row[0] = (unsigned)i;
    for (size_t k = 1; k <= m; k++) {
      unsigned best = last[k - 1] + (ascii_lower(a[i - 1]) != ascii_lower(b[k - 1]));
      if (last[k] + 1 < best) best = last[k] + 1;
      if (row[k - 1] + 1 < best) best = row[k - 1] + 1;
      bool is_swapped = i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1];
      if (is_swapped && before[k - 2] + 1 < best) best = before[k - 2] + 1;
      row[k] = best;
    }
  }
  return rows[n % 3][m];
}

bool spelling_is_near(const char *name, unsigned distance) {
  size_t third = strlen(name) / 3;
  return distance <= (third > 1 ? third : 1);
}
