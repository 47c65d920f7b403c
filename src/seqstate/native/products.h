// Factors of products: numbers as they are. Included by tile.h, unless an instruction set brings its own.
#pragma once

using Factor = float; // what a product takes from one side
using Factors = F;    // a vector of them
constexpr int PACK = 1;         // numbers in a factor
constexpr bool kScaled = true;  // rows are scaled before they are packed, not after the sum

// How many factors a row (or a word) has in K dimensions.
INLINE int depth_of(int K) { return K; }
INLINE const Factor* row_factors(const Job& job) { return job.packed; }
INLINE const Factor* word_factors(const Slice& s) { return s.words_t; }
static void pack_factors(const Job&, const Slice&, int) {}

INLINE Factors load_factors(const Factor* p) { return load(p); }
INLINE Factors set1_factor(Factor x) { return set1(x); }
template <int Q>
INLINE Factors load_repeated_factors(const Factor* p) {
  return load_repeated<Q>(p);
}
INLINE F add_products(F sum, Factors x, Factors y) { return fma(x, y, sum); }
