// Sixteen floats at once: AVX-512 (F, DQ, BW, VL).
#pragma once

using F = __m512;
constexpr int L = 16, MR = 6, NR = 2, ROW_MULTIPLE = 48;
constexpr const char* NAME = "avx512";

INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F set1(float x) { return _mm512_set1_ps(x); }
INLINE F add(F x, F y) { return _mm512_add_ps(x, y); }
INLINE F sub(F x, F y) { return _mm512_sub_ps(x, y); }
INLINE F mul(F x, F y) { return _mm512_mul_ps(x, y); }
INLINE F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
INLINE F fnma(F x, F y, F z) { return _mm512_fnmadd_ps(x, y, z); }  // z - x y
INLINE F at_most(F x, F bound) { return _mm512_min_ps(bound, x); }   // a NaN in x stays
INLINE F at_least(F x, F bound) { return _mm512_max_ps(bound, x); }
INLINE F absolute(F x) { return _mm512_abs_ps(x); }
INLINE float max_of(F x) { return _mm512_reduce_max_ps(x); }
INLINE float sum_of(F x) { return _mm512_reduce_add_ps(x); }
// x where |y| <= bound, else 0
INLINE F where_within(F x, F y, F bound) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(absolute(y), bound, _CMP_LE_OQ), x);
}

// 1 / x to about 1 ulp for normal x
INLINE F reciprocal(F x) {
  F guess = _mm512_rcp14_ps(x);
  return mul(guess, fnma(x, guess, set1(2.0f)));
}

// 2^x for x in [-1000, 1000]: 2^(n/16) from a table, a parabola for the rest (4.2e-7), exponent added.
INLINE F exp2(F x) {
  const F powers = _mm512_setr_ps(
      1.0f, 1.04427378243f, 1.09050773267f, 1.13878863476f, 1.18920711500f, 1.24185781207f,
      1.29683955465f, 1.35425554694f, 1.41421356237f, 1.47682614594f, 1.54221082541f, 1.61049033195f,
      1.68179283051f, 1.75625216037f, 1.83400808640f, 1.91520656140f);
  const F magic = set1(786432.0f);  // 1.5 * 2^19: adding it rounds to sixteenths
  F shifted = add(x, magic);
  F rounded = sub(shifted, magic);
  F rest = sub(x, rounded);
  F power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
  F poly = fma(fma(set1(0.24021945893764496f), rest, set1(0.6931878328323364f)), rest, set1(1.0f));
  return _mm512_scalef_ps(mul(power, poly), rounded);
}

// Q neighbouring floats repeated over the vector
template <int Q>
INLINE F load_repeated(const float* p) {
  if constexpr (Q == 1) return set1(*p);
  if constexpr (Q == 2)
    return _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_load_sd(reinterpret_cast<const double*>(p))));
  if constexpr (Q == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
  if constexpr (Q == 8) return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
  return load(p);
}

// Sums of neighbouring pairs: the lower half from x, the upper half from y.
INLINE F pair_sums(F x, F y) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return add(_mm512_permutex2var_ps(x, even, y), _mm512_permutex2var_ps(x, odd, y));
}

INLINE void transpose(F r[L]) {
  F t[L];
  for (int i = 0; i < L; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < L; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
  }
}
