/*
 * err: what functions return. 0 is success, negative is an error: libuv's codes pass through unchanged, ours
 * start at -10099 so that the two cannot collide. err_text() names both.
 */
#ifndef MOONGATE_BASE_ERR_H
#define MOONGATE_BASE_ERR_H

#include "base/base.h"

#define ERR_MAP(X)                                                                                           \
  X(TOO_LARGE, "a size limit was reached")                                                                   \
  X(SYNTAX, "the input is malformed")                                                                        \
  X(NOT_FOUND, "there is no such thing")                                                                     \
  X(RANGE, "a value is out of range")                                                                        \
  X(NOT_NOW, "not possible in this state")                                                                   \
  X(SCRIPT, "the script failed")                                                                             \
  X(CONFIG, "the configuration is wrong")                                                                    \
  X(UNSUPPORTED, "not supported")                                                                            \
  X(TRANSPORT, "the transport failed")

enum err {
  ERR_LOWEST_ = -10100, /* each name is one above the one before */
#define ERR_ENUM_(name, text) ERR_##name,
  ERR_MAP(ERR_ENUM_)
#undef ERR_ENUM_
};

/* A text for one of our codes or a libuv/errno code; static storage. */
const char *err_text(int code);

#endif
