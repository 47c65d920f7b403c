// Score products of neighbouring dimensions, two bfloat16 to a factor, summed in float32 (AVX512_BF16).
//
// Rows are packed as they came and scaled after the sum, so that products are exact. Words are rounded to nearest even. The last factor of an odd number of dimensions has a zero in its upper half.
#pragma once

using Factor = uint32_t;

INLINE int depth_of(int K) { return (K + 1) / 2; }
INLINE const Factor* row_factors(const Job& job) { return job.pairs; }
INLINE const Factor* word_factors(const Slice& s) { return s.words_b; }

INLINE __m512i rounded(F x) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)); }

// words_b[word / NB][pair][word % NB], from the words of the tile
static void pack_factors(const Job& job, const Slice& s, int word_blocks) {
  const int K = job.group_width;
  const float* from = s.words_t;
  uint32_t* out = s.words_b;
  for (int g = 0; g < word_blocks * job.groups; ++g, from += K * NB)
    for (int k = 0; k < K; k += 2)
      for (int j = 0; j < NB; j += L, out += L) {
        const __m512i upper = k + 1 < K ? rounded(load(from + (k + 1) * NB + j)) : _mm512_setzero_si512();
        _mm512_storeu_si512(out, _mm512_or_si512(rounded(load(from + k * NB + j)), _mm512_slli_epi32(upper, 16)));
      }
}

// acc[i][j] = start(i, j) + scale of the group * sum over it of row i * word vector j
template <class Start>
INLINE void product(const Job& job, int group, F (&acc)[MR][NR], const Factor* rows, const Factor* words, int depth,
                    Start start) {
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) acc[i][j] = set1(0.0f);
  for (int k = 0; k < depth; ++k) {
    __m512bh word[NR];
    for (int j = 0; j < NR; ++j) word[j] = (__m512bh)_mm512_loadu_si512(words + j * L);
    for (int i = 0; i < MR; ++i) {
      const __m512bh value = (__m512bh)_mm512_set1_epi32((int)rows[i]);
      for (int j = 0; j < NR; ++j) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], value, word[j]);
    }
    rows += MR;
    words += NB;
  }
  const F scale = set1(job.row_scale[group]);
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) acc[i][j] = fma(scale, acc[i][j], start(i, j));
}
