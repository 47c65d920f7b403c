// The kernels for AVX2 with FMA.
#include "job.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define SEQSTATE_NAMESPACE avx2
#define SEQSTATE_VEC "vec_avx2.h"
#include "isa.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
