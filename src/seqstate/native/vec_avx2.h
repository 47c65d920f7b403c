// Eight floats at once: AVX2 with FMA.
#pragma once

using F = __m256;
constexpr int L = 8, MR = 6, NR = 2, KR = 4, HR = 6;
constexpr const char* NAME = "avx2";

INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x); }
INLINE F set1(float x) { return _mm256_set1_ps(x); }
INLINE F pinned(F x) { return x; }  // worth it for AVX-512 only
INLINE F add(F x, F y) { return _mm256_add_ps(x, y); }
INLINE F sub(F x, F y) { return _mm256_sub_ps(x, y); }
INLINE F mul(F x, F y) { return _mm256_mul_ps(x, y); }
INLINE F fma(F x, F y, F z) { return _mm256_fmadd_ps(x, y, z); }
INLINE F fnma(F x, F y, F z) { return _mm256_fnmadd_ps(x, y, z); }  // z - x y
INLINE F at_most(F x, F bound) { return _mm256_min_ps(bound, x); }   // a NaN in x stays
INLINE F at_least(F x, F bound) { return _mm256_max_ps(bound, x); }
INLINE F absolute(F x) { return _mm256_andnot_ps(set1(-0.0f), x); }
INLINE float max_of(F x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
INLINE float sum_of(F x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
// x where |y| <= bound, else 0
INLINE F where_within(F x, F y, F bound) {
  return _mm256_and_ps(_mm256_cmp_ps(absolute(y), bound, _CMP_LE_OQ), x);
}

// x with the sign of y; 0 where y is 0
INLINE F signed_by(F x, F y) {
  const F turned = _mm256_xor_ps(x, _mm256_and_ps(y, set1(-0.0f)));
  return _mm256_and_ps(_mm256_cmp_ps(y, set1(0.0f), _CMP_NEQ_UQ), turned);
}

// 1 / x to about 1 ulp for normal x
INLINE F reciprocal(F x) {
  F guess = _mm256_rcp_ps(x);
  return mul(guess, fnma(x, guess, set1(2.0f)));
}

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
    const __m256i exponent = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23);
    return mul(poly, _mm256_castsi256_ps(exponent));
  }
};

// Q neighbouring floats repeated over the vector
template <int Q>
INLINE F load_repeated(const float* p) {
  if constexpr (Q == 1) return _mm256_broadcast_ss(p);
  if constexpr (Q == 2) return _mm256_castpd_ps(_mm256_broadcast_sd(reinterpret_cast<const double*>(p)));
  if constexpr (Q == 4) return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  return load(p);
}

// Sums of neighbouring pairs: the lower half from x, the upper half from y.
INLINE F pair_sums(F x, F y) {
  F mixed = _mm256_hadd_ps(x, y);  // x01 x23 y01 y23 | x45 x67 y45 y67
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}

INLINE void transpose(F r[L]) {
  F t[L];
  for (int i = 0; i < L; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < L; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < L; ++i) r[i] = t[i];
}

// Four codes of eight words, the lowest bits first: of the lower or the upper half of 32. They are shifted by
// multiplying, because shifts would compete with the permutations for the same units.
struct Codes {
  __m256i bits;
  static INLINE Codes make(const uint32_t* p, int half) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {half ? _mm256_srli_epi32(both, 16) : both};
  }
  INLINE void next() { bits = _mm256_mulhi_epu16(bits, _mm256_set1_epi16(1 << 12)); }
};

struct Table16 {
  F lower, upper;
  static INLINE Table16 make(const float* p) { return {load(p), load(p + 8)}; }
  INLINE F operator()(const Codes& codes) const {
    const F fourth = _mm256_castsi256_ps(_mm256_slli_epi32(codes.bits, 28));  // as a sign
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, codes.bits), _mm256_permutevar8x32_ps(upper, codes.bits),
                            fourth);
  }
};
