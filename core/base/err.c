#include "base/err.h"

#include <string.h>

const char *err_text(int code) {
  switch (code) {
#define ERR_CASE_(name, text)                                                                                \
  case ERR_##name: return text;
    ERR_MAP(ERR_CASE_)
#undef ERR_CASE_
  case 0: return "no error";
  default: return code < 0 && code > -10000 ? strerror(-code) : "unknown error";
  }
}
