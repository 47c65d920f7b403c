// Four floats in a plain array: any processor and compiler; the compiler may use the vectors it knows.
#pragma once

struct F {
  float lane[4];
};
constexpr int L = 4, MR = 6, NR = 2, KR = 4, HR = 6;
constexpr const char* NAME = "scalar";

template <class Function>
INLINE F each(Function f) {
  return F{{f(0), f(1), f(2), f(3)}};
}

INLINE F load(const float* p) { return F{{p[0], p[1], p[2], p[3]}}; }
INLINE void store(float* p, F x) {
  for (int i = 0; i < L; ++i) p[i] = x.lane[i];
}
INLINE F set1(float x) { return F{{x, x, x, x}}; }
INLINE F pinned(F x) { return x; }  // worth it for AVX-512 only
INLINE F add(F x, F y) { return each([&](int i) { return x.lane[i] + y.lane[i]; }); }
INLINE F sub(F x, F y) { return each([&](int i) { return x.lane[i] - y.lane[i]; }); }
INLINE F mul(F x, F y) { return each([&](int i) { return x.lane[i] * y.lane[i]; }); }
INLINE F fma(F x, F y, F z) { return add(mul(x, y), z); }
INLINE F fnma(F x, F y, F z) { return sub(z, mul(x, y)); }  // z - x y
// the comparisons are written so that a NaN in x stays
INLINE F at_most(F x, F bound) {
  return each([&](int i) { return bound.lane[i] < x.lane[i] ? bound.lane[i] : x.lane[i]; });
}
INLINE F at_least(F x, F bound) {
  return each([&](int i) { return bound.lane[i] > x.lane[i] ? bound.lane[i] : x.lane[i]; });
}
INLINE F absolute(F x) {
  return each([&](int i) { return x.lane[i] < 0.0f ? -x.lane[i] : x.lane[i]; });
}
INLINE float max_of(F x) {
  float most = x.lane[0];
  for (int i = 1; i < L; ++i) most = x.lane[i] > most ? x.lane[i] : most;
  return most;
}
INLINE float sum_of(F x) { return (x.lane[0] + x.lane[2]) + (x.lane[1] + x.lane[3]); }
// x where |y| <= bound, else 0
INLINE F where_within(F x, F y, F bound) {
  F size = absolute(y);
  return each([&](int i) { return size.lane[i] <= bound.lane[i] ? x.lane[i] : 0.0f; });
}

// x with the sign of y; 0 where y is 0
INLINE F signed_by(F x, F y) {
  return each([&](int i) { return y.lane[i] > 0.0f ? x.lane[i] : y.lane[i] < 0.0f ? -x.lane[i] : 0.0f; });
}

INLINE F reciprocal(F x) {
  return each([&](int i) { return 1.0f / x.lane[i]; });
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
    F scale;
    for (int i = 0; i < L; ++i) {
      uint32_t bits;
      memcpy(&bits, &shifted.lane[i], 4);
      bits = (bits + 127u) << 23;
      memcpy(&scale.lane[i], &bits, 4);
    }
    return mul(poly, scale);
  }
};

// Q neighbouring floats repeated over the vector
template <int Q>
INLINE F load_repeated(const float* p) {
  return each([&](int i) { return p[i % Q]; });
}

// Sums of neighbouring pairs: the lower half from x, the upper half from y.
INLINE F pair_sums(F x, F y) {
  return F{{x.lane[0] + x.lane[1], x.lane[2] + x.lane[3], y.lane[0] + y.lane[1], y.lane[2] + y.lane[3]}};
}

INLINE void transpose(F r[L]) {
  for (int i = 0; i < L; ++i)
    for (int j = 0; j < i; ++j) {
      float kept = r[i].lane[j];
      r[i].lane[j] = r[j].lane[i];
      r[j].lane[i] = kept;
    }
}

#include "codes_generic.h"
