// The passes over inner products and bits for AVX-512 with pairs of bfloat16 (F, DQ, BW, VL, BF16).
#include "driver.h"
#include "job.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 11))
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma")
#endif
#include "inline.h"

namespace seqstate {
namespace avx512 { extern const Isa isa; }
namespace avx512_bf16 {
#include "vec_avx512.h"
#define SEQSTATE_PRODUCTS "products_bf16.h"
#define SEQSTATE_GRADIENTS "gradients_bf16.h"
#include "tile.h"
#include "pack.h"
#include "statistics.h"
#include "slice.h"
#include "passes.h"

static const Passes passes = {product_forward, product_backward};
}  // namespace avx512_bf16
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC reset_options
#endif

const Passes* bf16_passes(const Isa& isa) {
  __builtin_cpu_init();
  return &isa == &avx512::isa && __builtin_cpu_supports("avx512bf16") ? &avx512_bf16::passes : nullptr;
}

}  // namespace seqstate

#else

namespace seqstate {
const Passes* bf16_passes(const Isa&) { return nullptr; }
}  // namespace seqstate

#endif
