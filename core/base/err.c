#include "base/err.h"

#include <string.h>

/* Of libuv's codes that are no negated errno; this floor does not include uv.h. */
#define UV_EOF_       (-4095)
#define UV_EAI_FIRST_ (-3000)

const char *err_text(int code) {
  switch (code) {
#define ERR_CASE_(name, text)                                                                                \
  case ERR_##name: return text;
    ERR_MAP(ERR_CASE_)
#undef ERR_CASE_
  case 0: return "no error";
  case UV_EOF_: return "end of file";
  default: break;
  }
  if (code <= UV_EAI_FIRST_ && code > UV_EAI_FIRST_ - 20) return "the name could not be resolved";
  const char *text = code < 0 && code > UV_EOF_ ? strerrordesc_np(-code) : NULL;
  return text ? text : "unknown error";
}
