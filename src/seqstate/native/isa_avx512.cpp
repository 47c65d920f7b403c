// The kernels for AVX-512 (F, DQ, BW, VL).
#include "job.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
#define SEQSTATE_NAMESPACE avx512
#define SEQSTATE_VEC "vec_avx512.h"
#include "isa.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
