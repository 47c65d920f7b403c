// Score products of numbers as they are. Included by tile.h, unless an instruction set brings its own.
#pragma once

using Factor = float;

// How many factors a row (or a word) has in K dimensions.
INLINE int depth_of(int K) { return K; }
INLINE const Factor* row_factors(const Job& job) { return job.packed; }
INLINE const Factor* word_factors(const Slice& s) { return s.words_t; }
static void pack_factors(const Job&, const Slice&, int) {}

// acc[i][j] = start(i, j) + sum over a group of (scaled) row i * word vector j
template <class Start>
INLINE void product(const Job&, int, F (&acc)[MR][NR], const Factor* rows, const Factor* words, int depth,
                    Start start) {
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) acc[i][j] = start(i, j);
  for (int k = 0; k < depth; ++k) {
    F word[NR];
    for (int j = 0; j < NR; ++j) word[j] = load(words + j * L);
    for (int i = 0; i < MR; ++i) {
      F value = set1(rows[i]);
      for (int j = 0; j < NR; ++j) acc[i][j] = fma(value, word[j], acc[i][j]);
    }
    rows += MR;
    words += NB;
  }
}
