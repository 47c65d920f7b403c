// Bounds of logits from products in 8 bits (shortlist.h). Included once per instruction set.
#pragma once

template <class Miss>
static float bound_misses(const ShortRow& row, const float* products, int64_t first, float* upper, float* lower) {
  const Miss miss = Miss::make();
  const F zero = set1(0.0f), by_error = set1(row.by_error), by_length = set1(row.by_length);
  F most = set1(-INFINITY);
  for (int i = 0; i < kShortWords; i += L) {
    const F scale = load(row.scale + first + i);
    F logit = row.bias ? load(row.bias + first + i) : zero;
    for (int g = 0; g < row.groups; ++g) {
      F missed, slope;
      const F at = fma(mul(load(products + g * kShortWords + i), scale), set1(row.factor[g]), set1(row.offset[g]));
      miss.template operator()<false>(at, missed, slope);
      logit = fnma(set1(row.tau[g]), missed, logit);
    }
    const F off = fma(by_error, load(row.error + first + i),
                      fma(by_length, load(row.length + first + i), set1(row.always)));
    const F above = add(logit, off);
    most = at_least(above, most);
    store(upper + i, above);
    store(lower + i, sub(logit, off));
  }
  return max_of(most);
}

// Adds its argument, so that a sum of products is bounded as one of misses is.
struct Taken {
  static INLINE Taken make() { return {}; }
  template <bool Within>
  INLINE void operator()(F t, F& miss, F& slope) const {
    miss = sub(set1(0.0f), t);
    slope = t;
  }
};

static float bounds(const ShortRow& row, const float* products, int64_t first, float* upper, float* lower) {
  switch (row.kind) {
    case kInner: return bound_misses<Taken>(row, products, first, upper, lower);
    case kSigmoid: return bound_misses<Sigmoid>(row, products, first, upper, lower);
    case kClampedLinear: return bound_misses<ClampedLinear>(row, products, first, upper, lower);
    default: return bound_misses<Rational>(row, products, first, upper, lower);
  }
}
