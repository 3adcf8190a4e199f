/* libcurl, loaded at run time. */
#include "check.h"
#include "net/curl_library.h"

#include <string.h>

static void a_library_that_is_not_there_is_named_with_what_to_do(void) {
  struct curl_library out = {0};
  const char *why = curl_library_open(&out, "libthere-is-none.so.4");
  CHECK(why != NULL);
  CHECK(strstr(why, "https:// needs libthere-is-none.so.4") != NULL);
  CHECK(strstr(why, "apt-get install libcurl4") != NULL);
  CHECK(out.easy_init == NULL);
}

static void a_library_without_the_functions_is_refused(void) {
  struct curl_library out = {0};
  const char *why = curl_library_open(&out, "libc.so.6");
  CHECK(why != NULL);
  CHECK(strstr(why, "curl_global_init") != NULL);
  CHECK(out.easy_init == NULL);
}

static void nothing_is_loaded_before_it_is_asked_for(void) {
  CHECK(libcurl.easy_init == NULL);
  curl_library_release();
  const char *why = curl_library_load();
  CHECK(why == NULL);
  CHECK(libcurl.easy_init != NULL);
  CHECK(libcurl.url_cleanup != NULL);
  CURL *easy = libcurl.easy_init();
  CHECK(easy != NULL);
  CHECK_INT(libcurl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L), CURLE_OK);
  libcurl.easy_cleanup(easy);
  why = curl_library_load(); /* once is enough */
  CHECK(why == NULL);
  curl_library_release();
}

int main(void) {
  RUN(a_library_that_is_not_there_is_named_with_what_to_do);
  RUN(a_library_without_the_functions_is_refused);
  RUN(nothing_is_loaded_before_it_is_asked_for);
  return CHECK_END();
}
