/*
 * sse2: whether this room looks at sixteen bytes at a time: where the processor can for certain, and unless the build says
 * WIRE_WITHOUT_SSE2, by which the other ways are tried.
 */
#ifndef MOONGATE_WIRE_SSE2_H
#define MOONGATE_WIRE_SSE2_H

#if defined(__SSE2__) && !defined(WIRE_WITHOUT_SSE2)
#  include <emmintrin.h>
#  define WIRE_SSE2 1
#else
#  define WIRE_SSE2 0
#endif

#endif
