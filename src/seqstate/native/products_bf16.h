// Factors of products: two bfloat16 each, of neighbours, summed in float32 (AVX512_BF16).
//
// Rows are packed as they came and scaled after the sum, so that products are exact. Words are rounded to nearest
// even. The last factor of an odd number of dimensions has a zero in its upper half.
#pragma once

using Factor = uint32_t;
using Factors = __m512i;
constexpr int PACK = 2;
constexpr bool kScaled = false;

INLINE int depth_of(int K) { return (K + 1) / 2; }
INLINE const Factor* row_factors(const Job& job) { return job.pairs; }
INLINE const Factor* word_factors(const Slice& s) { return s.words_b; }

INLINE __m256i rounded(F x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE __m512i paired(__m256i lower, __m256i upper) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(lower), _mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
}
INLINE Factors load_factors(const Factor* p) { return _mm512_loadu_si512(p); }
INLINE void store_pairs(uint32_t* p, __m512i x) { _mm512_storeu_si512(p, x); }
INLINE Factors set1_factor(Factor pair) { return _mm512_set1_epi32((int)pair); }
template <int Q>
INLINE Factors load_repeated_factors(const Factor* p) {
  return _mm512_castps_si512(load_repeated<Q>(reinterpret_cast<const float*>(p)));
}
INLINE F add_products(F sum, Factors x, Factors y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }

// words_b[word / NB][pair][word % NB], from the words of the tile
static void pack_factors(const Job& job, const Slice& s, int word_blocks) {
  const int K = job.group_width;
  const float* from = s.words_t;
  uint32_t* out = s.words_b;
  for (int g = 0; g < word_blocks * job.groups; ++g, from += K * NB)
    for (int k = 0; k < K; k += 2)
      for (int j = 0; j < NB; j += L, out += L) {
        const F upper = k + 1 < K ? load(from + (k + 1) * NB + j) : set1(0.0f);
        store_pairs(out, paired(rounded(load(from + k * NB + j)), rounded(upper)));
      }
}
