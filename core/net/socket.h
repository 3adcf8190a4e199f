/*
 * socket: reading and writing a connection's descriptor directly, without libuv in between, where nothing waits to be
 * written. libuv asks with read() and writev(), which pass the file layer first, and copies a list of pieces into the
 * kernel and back for each short message: at a dozen microseconds for a request, that is two or three parts of a hundred.
 *
 * How a handle reads: its alloc callback, socket_lend_nothing, offers no room, so libuv reads nothing and calls the read
 * callback with UV_ENOBUFS, which then means: there is something to read. The handle's callbacks may close it there, as
 * in any read callback.
 *
 * Thread: the handle's.
 */
#ifndef MOONGATE_NET_SOCKET_H
#define MOONGATE_NET_SOCKET_H

#include "base/base.h"

#include <uv.h>

/* Reads that fill their room are repeated at most so often before others have their turn. */
#define SOCKET_READS_MAX 16

void socket_lend_nothing(uv_handle_t *h, size_t suggested, uv_buf_t *out);

/* The number of bytes (> 0), 0 when there are none now, UV_EOF, or another error of libuv's. */
ssize_t socket_read(uv_tcp_t *tcp, char *out, size_t room);

/* As uv_try_write(): the number of bytes taken, UV_EAGAIN, or another error. Nothing of uv_write() may be waiting. */
ssize_t socket_write(uv_tcp_t *tcp, const uv_buf_t *bufs, unsigned n);

#endif
