// Words of a tile in the two orders the products want, and their gradient back into the table.
#pragma once

// words_t[word / NB][d][word % NB]; absent words are zeros
static void pack_transposed(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const int D = job.width;
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int j = 0; j < NB; j += L) {
      float* out = s.words_t + (int64_t)vb * D * NB + j;
      const int present = count - (vb * NB + j);
      const float* from = job.table + (first + vb * NB + j) * D;
      int d = 0;
      if (present >= L)
        for (; d + L <= D; d += L) {
          F block[L];
          for (int i = 0; i < L; ++i) block[i] = load(from + (int64_t)i * D + d);
          transpose(block);
          for (int i = 0; i < L; ++i) store(out + (int64_t)(d + i) * NB, block[i]);
        }
      for (; d < D; ++d)
        for (int i = 0; i < L; ++i) out[(int64_t)d * NB + i] = i < present ? from[(int64_t)i * D + d] : 0.0f;
    }
}

// Squared lengths of a block of words in one group.
INLINE void squares(const Job& job, const Slice& s, int block, int group, F (&square)[NR]) {
  for (int j = 0; j < NR; ++j) square[j] = set1(0.0f);
  const float* from = s.words_t + ((int64_t)block * job.width + group * job.group_width) * NB;
  for (int k = 0; k < job.group_width; ++k)
    for (int j = 0; j < NR; ++j) {
      const F x = load(from + k * NB + j * L);
      square[j] = fma(x, x, square[j]);
    }
}

// What the words' own lengths add to the inner arguments of peaks.
static void word_offsets(const Job& job, const Slice& s, int word_blocks) {
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int g = 0; g < job.groups; ++g) {
      F square[NR];
      squares(job, s, vb, g, square);
      float* out = s.word_offset + ((int64_t)vb * job.groups + g) * NB;
      for (int j = 0; j < NR; ++j) store(out + j * L, mul(set1(-job.sharpness[g]), square[j]));
    }
}

// The gradient of a distance goes along h - w: what was summed so far is the share of h.
static void subtract_own(const Job& job, const Slice& s, int word_blocks) {
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int g = 0; g < job.groups; ++g) {
      const float* sum = s.word_sum + ((int64_t)vb * job.groups + g) * NB;
      for (int d = g * job.group_width; d < (g + 1) * job.group_width; ++d) {
        const int64_t at = ((int64_t)vb * job.width + d) * NB;
        for (int j = 0; j < NB; j += L) {
          const F own = mul(set1(job.row_scale[g]), load(s.words_t + at + j));
          store(s.grad_words_t + at + j, fnma(own, load(sum + j), load(s.grad_words_t + at + j)));
        }
      }
    }
}

// The longest word of the tile, group by group.
static void word_norms(const Job& job, const Slice& s, int word_blocks) {
  for (int g = 0; g < job.groups; ++g) {
    F most = set1(0.0f);
    for (int vb = 0; vb < word_blocks; ++vb) {
      F square[NR];
      squares(job, s, vb, g, square);
      for (int j = 0; j < NR; ++j) most = at_least(square[j], most);
    }
    s.word_norm[g] = sqrtf(max_of(most));
  }
}

static void pack_bias(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const float log2_e = 1.44269504088896f;
  for (int v = 0; v < word_blocks * NB; ++v)
    s.bias[v] = v >= count ? -INFINITY : job.bias ? job.bias[first + v] * log2_e : 0.0f;
}

// The gradient of the tile's words, scaled, into the table's gradient (added to it after the first block).
static void unpack_word_gradients(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const int D = job.width;
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int j = 0; j < NB; j += L) {
      const float* from = s.grad_words_t + (int64_t)vb * D * NB + j;
      const int present = count - (vb * NB + j);
      float* out = job.grad_table + (first + vb * NB + j) * D;
      int d = 0;
      if (present >= L)
        for (; d + L <= D; d += L) {
          F block[L], scale = load(job.word_scale + d);
          for (int i = 0; i < L; ++i) block[i] = load(from + (int64_t)(d + i) * NB);
          transpose(block);
          for (int i = 0; i < L; ++i) {
            float* to = out + (int64_t)i * D + d;
            store(to, job.first_block ? mul(scale, block[i]) : fma(scale, block[i], load(to)));
          }
        }
      for (; d < D; ++d)
        for (int i = 0; i < L && i < present; ++i) {
          float value = job.word_scale[d] * from[(int64_t)d * NB + i];
          float* to = out + (int64_t)i * D + d;
          *to = job.first_block ? value : *to + value;
        }
    }
}
