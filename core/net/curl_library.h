/*
 * curl_library: libcurl, loaded when something asks for it. It brings two dozen libraries along, 7 MiB of resident
 * memory and most of the time of a start, and a program that speaks plain HTTP needs none of them.
 *
 * Thread: curl_library_load() is called by one thread at a time, control's or a command's; threads that are told
 * afterwards (by mail, or because they start later) use the table freely. The library stays until the process ends.
 */
#ifndef MOONGATE_NET_CURL_LIBRARY_H
#define MOONGATE_NET_CURL_LIBRARY_H

#include "base/base.h"

/* Its checks of option types are macros of the functions' names; the table below is called by name, too. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

/* The interface that has been the same since 2006; what is linked to it keeps working. */
#define CURL_LIBRARY_NAME "libcurl.so.4"

#define CURL_LIBRARY_MAP(X)                                                                                  \
  X(global_init)                                                                                             \
  X(global_cleanup)                                                                                          \
  X(easy_init)                                                                                               \
  X(easy_setopt)                                                                                             \
  X(easy_getinfo)                                                                                            \
  X(easy_perform)                                                                                            \
  X(easy_pause)                                                                                              \
  X(easy_strerror)                                                                                           \
  X(easy_cleanup)                                                                                            \
  X(multi_init)                                                                                              \
  X(multi_setopt)                                                                                            \
  X(multi_add_handle)                                                                                        \
  X(multi_remove_handle)                                                                                     \
  X(multi_info_read)                                                                                         \
  X(multi_socket_action)                                                                                     \
  X(multi_cleanup)                                                                                           \
  X(slist_append)                                                                                            \
  X(slist_free_all)                                                                                          \
  X(url)                                                                                                     \
  X(url_set)                                                                                                 \
  X(url_cleanup)

/* libcurl.easy_init is curl_easy_init, and so on; all NULL before curl_library_load() has returned NULL. */
struct curl_library {
#define CURL_LIBRARY_FIELD_(name) __typeof__(curl_##name) *name;
  CURL_LIBRARY_MAP(CURL_LIBRARY_FIELD_)
#undef CURL_LIBRARY_FIELD_
};
extern struct curl_library libcurl;

/*
 * Loads and initialises it, once; blocks for milliseconds. NULL, or why it cannot be used (static text, until the next
 * call).
 */
const char *curl_library_load(void) MUST_CHECK;
/* The same with the name of a file: for tests. Fills `out`, and initialises nothing. */
const char *curl_library_open(struct curl_library *out, const char *file) MUST_CHECK;
/* At the end of the process; nothing to do when it was never loaded. */
void curl_library_release(void);

#endif
