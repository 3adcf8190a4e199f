#include "net/curl_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct curl_library libcurl;

static char trouble[512];

static const char *say(const char *file, const char *why) {
  (void)snprintf(trouble, sizeof trouble,
                 "https:// needs %s, which cannot be used: %s (Debian: apt-get install libcurl4)", file,
                 why ? why : "unknown reason");
  return trouble;
}

const char *curl_library_open(struct curl_library *out, const char *file) {
  static const struct {
    const char *name;
    size_t offset;
  } functions[] = {
#define FUNCTION_(name) {"curl_" #name, offsetof(struct curl_library, name)},
      CURL_LIBRARY_MAP(FUNCTION_)
#undef FUNCTION_
  };
  struct curl_library found;
  void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return say(file, dlerror());
  for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
    void *function = dlsym(handle, functions[i].name);
    if (!function) {
      const char *why = say(file, dlerror());
      (void)dlclose(handle);
      return why;
    }
    memcpy((char *)&found + functions[i].offset, &function, sizeof function);
  }
  *out = found;
  return NULL;
}

const char *curl_library_load(void) {
  struct curl_library found;
  if (libcurl.global_init) return NULL;
  const char *why = curl_library_open(&found, CURL_LIBRARY_NAME);
  if (why) return why;
  if (found.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return say(CURL_LIBRARY_NAME, "it does not start");
  libcurl = found;
  return NULL;
}

void curl_library_release(void) {
  if (libcurl.global_cleanup) libcurl.global_cleanup();
}
