// Four floats at once: NEON on 64-bit ARM.
#pragma once

using F = float32x4_t;
constexpr int L = 4, MR = 6, NR = 4, KR = 4, HR = 12;
constexpr const char* NAME = "neon";

INLINE F load(const float* p) { return vld1q_f32(p); }
INLINE void store(float* p, F x) { vst1q_f32(p, x); }
INLINE F set1(float x) { return vdupq_n_f32(x); }
INLINE F pinned(F x) { return x; }  // worth it for AVX-512 only
INLINE F add(F x, F y) { return vaddq_f32(x, y); }
INLINE F sub(F x, F y) { return vsubq_f32(x, y); }
INLINE F mul(F x, F y) { return vmulq_f32(x, y); }
INLINE F fma(F x, F y, F z) { return vfmaq_f32(z, x, y); }
INLINE F fnma(F x, F y, F z) { return vfmsq_f32(z, x, y); }  // z - x y
INLINE F at_most(F x, F bound) { return vminq_f32(x, bound); }   // a NaN in x stays
INLINE F at_least(F x, F bound) { return vmaxq_f32(x, bound); }
INLINE F absolute(F x) { return vabsq_f32(x); }
INLINE float max_of(F x) { return vmaxvq_f32(x); }
INLINE float sum_of(F x) { return vaddvq_f32(x); }
// x where |y| <= bound, else 0
INLINE F where_within(F x, F y, F bound) {
  return vreinterpretq_f32_u32(vandq_u32(vcaleq_f32(y, bound), vreinterpretq_u32_f32(x)));
}

// x with the sign of y; 0 where y is 0
INLINE F signed_by(F x, F y) {
  const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(y), vdupq_n_u32(0x80000000u));
  const uint32x4_t turned = veorq_u32(vreinterpretq_u32_f32(x), sign);
  return vreinterpretq_f32_u32(vbicq_u32(turned, vceqzq_f32(y)));
}

INLINE F reciprocal(F x) { return vdivq_f32(set1(1.0f), x); }

// 2^x for x in [-127, 127], 0 at -127: a polynomial of degree 5 (7.5e-8), exponent by integer addition.
struct Power {
  static INLINE Power make() { return {}; }
  INLINE F operator()(F x) const {
    const F magic = set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to integers
    const F shifted = add(x, magic);
    const F rest = sub(x, sub(shifted, magic));
    F poly = fma(set1(0.001327647129073739f), rest, set1(0.009675540961325169f));
    poly = fma(poly, rest, set1(0.05550713092088699f));
    poly = fma(poly, rest, set1(0.24022120237350464f));
    poly = fma(poly, rest, set1(0.6931469440460205f));
    poly = fma(poly, rest, set1(1.0f));
    const int32x4_t exponent =
        vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127)), 23);
    return mul(poly, vreinterpretq_f32_s32(exponent));
  }
};

// Q neighbouring floats repeated over the vector
template <int Q>
INLINE F load_repeated(const float* p) {
  if constexpr (Q == 1) return vld1q_dup_f32(p);
  if constexpr (Q == 2) {
    float32x2_t pair = vld1_f32(p);
    return vcombine_f32(pair, pair);
  }
  return load(p);
}

// Sums of neighbouring pairs: the lower half from x, the upper half from y.
INLINE F pair_sums(F x, F y) { return vpaddq_f32(x, y); }

INLINE void transpose(F r[L]) {
  float32x4x2_t upper = vtrnq_f32(r[0], r[1]), lower = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(upper.val[0]), vget_low_f32(lower.val[0]));
  r[1] = vcombine_f32(vget_low_f32(upper.val[1]), vget_low_f32(lower.val[1]));
  r[2] = vcombine_f32(vget_high_f32(upper.val[0]), vget_high_f32(lower.val[0]));
  r[3] = vcombine_f32(vget_high_f32(upper.val[1]), vget_high_f32(lower.val[1]));
}

#include "codes_generic.h"
