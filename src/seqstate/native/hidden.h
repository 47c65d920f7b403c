// Sums over a tile's words of gradient * word vector, whatever the factors. Included by tile.h.
#pragma once

constexpr int WORDS = NB / PACK;  // factors of a row in a block of words

// Whole vectors of dimensions: grad_hidden[row][slot] += sum_words grad[row][word] * word[slot].
template <int ROWS, int SLOTS>
INLINE void hidden_gradient(float* out, const Factor* words_p, const Factor* grad, int tile_rows, int slot_stride,
                            int word_blocks) {
  F acc[ROWS][SLOTS];
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) acc[i][s] = load(out + ((int64_t)s * tile_rows + i) * L);
  for (int vb = 0; vb < word_blocks; ++vb, grad += (int64_t)tile_rows * WORDS)
    for (int v = 0; v < WORDS; ++v, words_p += L) {
      Factors word[SLOTS];
      for (int s = 0; s < SLOTS; ++s) word[s] = load_factors(words_p + (int64_t)s * slot_stride);
      for (int i = 0; i < ROWS; ++i) {
        const Factors value = set1_factor(grad[i * WORDS + v]);
        for (int s = 0; s < SLOTS; ++s) acc[i][s] = add_products(acc[i][s], value, word[s]);
      }
    }
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) store(out + ((int64_t)s * tile_rows + i) * L, acc[i][s]);
}

// Rows at a time: at least Q, and enough to hide the latency of a sum.
constexpr int rows_sharing(int words) { return words > 8 ? words : words > 4 ? 8 : 12; }

// Groups narrower than a vector: Q factors of words share it; their lanes are summed at the end, Q rows to a vector.
template <int Q>
INLINE void hidden_gradient_shared(float* out, const Factor* words_p, const Factor* grad, int tile_rows,
                                   int word_blocks) {
  constexpr int ROWS = rows_sharing(Q);
  F acc[ROWS];
  for (int i = 0; i < ROWS; ++i) acc[i] = set1(0.0f);
  for (int vb = 0; vb < word_blocks; ++vb, grad += (int64_t)tile_rows * WORDS)
    for (int v = 0; v < WORDS; v += Q, words_p += L) {
      const Factors word = load_factors(words_p);
      for (int i = 0; i < ROWS; ++i)
        acc[i] = add_products(acc[i], load_repeated_factors<Q>(grad + i * WORDS + v), word);
    }
  for (int left = ROWS; left > ROWS / Q; left /= 2)
    for (int i = 0; i < left / 2; ++i) acc[i] = pair_sums(acc[2 * i], acc[2 * i + 1]);
  for (int i = 0; i < ROWS / Q; ++i) store(out + i * L, add(load(out + i * L), acc[i]));
}

static void hidden_gradients(const Job& job, float* grad_hidden, const Slice& s, const float* gradient, int group,
                             int rows, int word_blocks) {
  const int wide = padded_group(job.group_width, L), tile = job.tile_rows, slot_stride = job.tile_words / PACK * L;
  const Factor* words_p = reinterpret_cast<const Factor*>(s.words_p) + (int64_t)group * wide * job.tile_words / PACK;
  const Factor* grad = row_gradients(job, s, gradient);
  float* out = grad_hidden + (int64_t)group * wide * tile;
  if (wide >= L) {
    const int slots = wide / L;
    for (int i = 0; i < rows; i += HR) {
      int slot = 0;
      for (; slot + 2 <= slots; slot += 2)
        hidden_gradient<HR, 2>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * WORDS, tile, slot_stride, word_blocks);
      if (slot < slots)
        hidden_gradient<HR, 1>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * WORDS, tile, slot_stride, word_blocks);
    }
    return;
  }
  const int shared = L / wide, step = rows_sharing(shared);
  for (int i = 0; i < rows; i += step) {
    const Factor* values = grad + i * WORDS;
    float* at = out + i * wide;
    if constexpr (L >= 16 && PACK == 1)  // a lone number has no neighbour to share a factor with
      if (shared == 16) hidden_gradient_shared<16>(at, words_p, values, tile, word_blocks);
    if constexpr (L >= 8)
      if (shared == 8) hidden_gradient_shared<8>(at, words_p, values, tile, word_blocks);
    if (shared == 4) hidden_gradient_shared<4>(at, words_p, values, tile, word_blocks);
    if (shared == 2) hidden_gradient_shared<2>(at, words_p, values, tile, word_blocks);
  }
}
