// Sixteen floats at once: AVX-512 (F, DQ, BW, VL).
#pragma once

using F = __m512;
constexpr int L = 16, MR = 6, NR = 2, KR = 8, HR = 12;
constexpr const char* NAME = "avx512";

INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F set1(float x) { return _mm512_set1_ps(x); }
// Keeps a constant from being hoisted out of loops, where it would push sums out of registers.
INLINE F pinned(F x) {
  asm volatile("" : "+v"(x));
  return x;
}
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

// x with the sign of y; 0 where y is 0
INLINE F signed_by(F x, F y) {
  const __mmask16 some = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  return _mm512_castsi512_ps(_mm512_maskz_ternarylogic_epi32(some, _mm512_castps_si512(x), _mm512_castps_si512(y),
                                                             _mm512_set1_epi32(INT32_MIN), 0x78));
}

// 1 / x to about 1 ulp for normal x
INLINE F reciprocal(F x) {
  F guess = _mm512_rcp14_ps(x);
  return mul(guess, fnma(x, guess, set1(2.0f)));
}

// 2^x for x in [-127, 127], 0 at -127: 2^(i/16) from a table, a parabola for the rest (4.2e-7), and the
// exponent by integer addition. The table's entries are the bits of 2^(i/16) less i shifted to bit 19, where
// the shifted argument has them too.
struct Power {
  F table, magic, square, linear, one;
  static INLINE Power make() {
    const F table = _mm512_castsi512_ps(_mm512_setr_epi32(
        0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
        0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d));
    // 1.5 * 2^19: adding it rounds to sixteenths
    return {pinned(table), pinned(set1(786432.0f)), pinned(set1(0.24021945893764496f)),
            pinned(set1(0.6931878328323364f)), pinned(set1(1.0f))};
  }
  INLINE F operator()(F x) const {
    const F shifted = add(x, magic);
    const F rest = sub(x, sub(shifted, magic));
    const __m512i sixteenths = _mm512_castps_si512(shifted);
    const __m512i power = _mm512_add_epi32(_mm512_castps_si512(_mm512_permutexvar_ps(sixteenths, table)),
                                           _mm512_slli_epi32(sixteenths, 19));
    return mul(_mm512_castsi512_ps(power), fma(fma(square, rest, linear), rest, one));
  }
};

// Q neighbouring floats repeated over the vector
template <int Q>
INLINE F load_repeated(const float* p) {
  if constexpr (Q == 1) return set1(*p);
  if constexpr (Q == 2) {  // an operand that repeats takes no shuffle, unlike a repeating load
    __m512i pairs;
    asm("vporq %1%{1to8%}, %2, %0"
        : "=v"(pairs)
        : "m"(*reinterpret_cast<const int64_t*>(p)), "v"(_mm512_setzero_si512()));
    return _mm512_castsi512_ps(pairs);
  }
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

// Four codes of sixteen words, the lowest bits first: of the lower or the upper half of 32. They are shifted by
// multiplying, because shifts would compete with the permutations for the same units.
struct Codes {
  __m512i bits;
  static INLINE Codes make(const uint32_t* p, int half) {
    const __m512i both = _mm512_loadu_si512(p);
    return {half ? _mm512_srli_epi32(both, 16) : both};
  }
  INLINE void next() { bits = _mm512_mulhi_epu16(bits, _mm512_set1_epi16(1 << 12)); }
};

struct Table16 {
  F numbers;
  static INLINE Table16 make(const float* p) { return {load(p)}; }
  INLINE F operator()(const Codes& codes) const { return _mm512_permutexvar_ps(codes.bits, numbers); }
};
