// What kernels use to be compiled into their callers.
#pragma once
#if defined(_MSC_VER)
#define INLINE __forceinline
#define INLINE_LAMBDA
#else
#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
#endif
