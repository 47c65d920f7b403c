// The three products of a tile, and packing. Included once per instruction set, after its vec_*.h.
//
// Layouts (NB = NR vectors of words, MR rows: the register block):
//   packed hidden   [rows / MR][D][MR]            words_t, grad_words_t   [words / NB][D][NB]
//   scores          [words / NB][tile_rows][NB]   words_p   per group and slot [words][lanes of a slot]
//   grad_hidden     [tile][group][slot][tile_rows][lanes of a slot]
// A slot is one vector of a group's numbers; a group narrower than a vector shares it between Q words.
#pragma once

constexpr int NB = NR * L;

// What a group's inner argument t (already scaled into the activation's own unit) adds to the energy:
// miss = sigma(-z), and `slope`, proportional to -dmiss/dz. Arguments are clamped to +-30 as in torch.
struct Sigmoid {
  // t = z log2 e; slope = sigma (1 - sigma), both factors exact to an ulp even when saturated
  static INLINE void miss(F t, F& miss, F& slope) {
    const F bound = set1(43.2808512f);
    F odds = exp2(at_most(at_least(t, sub(set1(0.0f), bound)), bound));
    miss = reciprocal(add(set1(1.0f), odds));
    slope = mul(mul(odds, miss), miss);
  }
};
struct ClampedLinear {
  // t = z / 4; slope = 1 inside
  static INLINE void miss(F t, F& miss, F& slope) {
    miss = at_least(at_most(sub(set1(0.5f), t), set1(1.0f)), set1(0.0f));
    slope = where_within(set1(1.0f), t, set1(0.5f));
  }
};
struct Rational {
  // t = z / 2: miss = 1/2 - t / (2 (1 + |t|)); slope = 1 / (1 + |t|)^2
  static INLINE void miss(F t, F& miss, F& slope) {
    const F bound = set1(15.0f);
    F kept = at_most(at_least(t, sub(set1(0.0f), bound)), bound);
    F size = absolute(kept);
    F inverse = reciprocal(add(set1(1.0f), size));
    miss = mul(mul(set1(0.5f), inverse), add(sub(size, kept), set1(1.0f)));
    slope = where_within(mul(inverse, inverse), t, bound);
  }
};
struct Identity {};  // the inner product: no groups, no miss

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

// acc[i][j] += sum_k row i, dimension k * words_t, dimension k, vector j
INLINE void product(F (&acc)[MR][NR], const float* rows, const float* words_t, int depth) {
  for (int k = 0; k < depth; ++k) {
    F word[NR];
    for (int j = 0; j < NR; ++j) word[j] = load(words_t + j * L);
    for (int i = 0; i < MR; ++i) {
      F value = set1(rows[i]);
      for (int j = 0; j < NR; ++j) acc[i][j] = fma(value, word[j], acc[i][j]);
    }
    rows += MR;
    words_t += NB;
  }
}

// Logits (base 2) of a tile into `logits`; with Store also every group's miss and slope into `stored`,
// laid out [words / NB][rows / MR][G][MR][2][NB].
template <class Activation, bool Store>
static void score_tile(const Job& job, const float* packed, const Slice& s, int row_blocks, int word_blocks) {
  const int D = job.width, K = job.group_width;
  float* kept = s.stored;
  for (int vb = 0; vb < word_blocks; ++vb) {
    const float* words_t = s.words_t + (int64_t)vb * D * NB;
    for (int rb = 0; rb < row_blocks; ++rb) {
      const float* rows = packed + (int64_t)rb * D * MR;
      F logit[MR][NR];
      for (int j = 0; j < NR; ++j) {
        F bias = load(s.bias + vb * NB + j * L);
        for (int i = 0; i < MR; ++i) logit[i][j] = bias;
      }
      if constexpr (same<Activation, Identity>) {
        product(logit, rows, words_t, D);
      } else {
        for (int g = 0; g < job.groups; ++g) {
          F inner[MR][NR];
          F offset = set1(job.inner_b[g]), tau = set1(job.tau2[g]);
          for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NR; ++j) inner[i][j] = offset;
          product(inner, rows + (int64_t)g * K * MR, words_t + (int64_t)g * K * NB, K);
          for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NR; ++j) {
              F miss, slope;
              Activation::miss(inner[i][j], miss, slope);
              logit[i][j] = fnma(tau, miss, logit[i][j]);
              if constexpr (Store) {
                store(kept + (2 * i) * NB + j * L, miss);
                store(kept + (2 * i + 1) * NB + j * L, slope);
              }
            }
          kept += 2 * MR * NB;
        }
      }
      float* out = s.logits + ((int64_t)vb * job.tile_rows + rb * MR) * NB;
      for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NR; ++j) store(out + i * NB + j * L, logit[i][j]);
    }
  }
}

// grad_words_t[k] += sum_rows grad[row] * hidden[row][k], for KR dimensions starting at `from`
template <int KR>
INLINE void word_gradient(float* grad_words_t, const float* rows, const float* grad, int D, int row_blocks) {
  F acc[KR][NR];
  for (int k = 0; k < KR; ++k)
    for (int j = 0; j < NR; ++j) acc[k][j] = load(grad_words_t + k * NB + j * L);
  for (int rb = 0; rb < row_blocks; ++rb) {
    for (int i = 0; i < MR; ++i) {
      F value[NR];
      for (int j = 0; j < NR; ++j) value[j] = load(grad + j * L);
      for (int k = 0; k < KR; ++k) {
        F hidden = set1(rows[k * MR + i]);
        for (int j = 0; j < NR; ++j) acc[k][j] = fma(hidden, value[j], acc[k][j]);
      }
      grad += NB;
    }
    rows += D * MR;
  }
  for (int k = 0; k < KR; ++k)
    for (int j = 0; j < NR; ++j) store(grad_words_t + k * NB + j * L, acc[k][j]);
}

static void word_gradients(const Job& job, const float* packed, const Slice& s, const float* grad, int group,
                           int row_blocks, int word_blocks) {
  const int D = job.width, K = job.group_width;
  for (int vb = 0; vb < word_blocks; ++vb) {
    const float* values = grad + (int64_t)vb * job.tile_rows * NB;
    float* out = s.grad_words_t + ((int64_t)vb * D + group * K) * NB;
    const float* rows = packed + (int64_t)group * K * MR;
    int k = 0;
    for (; k + 8 <= K; k += 8) word_gradient<8>(out + k * NB, rows + k * MR, values, D, row_blocks);
    for (; k + 4 <= K; k += 4) word_gradient<4>(out + k * NB, rows + k * MR, values, D, row_blocks);
    for (; k < K; ++k) word_gradient<1>(out + k * NB, rows + k * MR, values, D, row_blocks);
  }
}

// Whole vectors of dimensions: grad_hidden[row][slot] += sum_words grad[row][word] * word[slot].
template <int ROWS, int SLOTS>
INLINE void hidden_gradient(float* out, const float* words_p, const float* grad, int tile_rows, int slot_stride,
                            int word_blocks) {
  F acc[ROWS][SLOTS];
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) acc[i][s] = load(out + ((int64_t)s * tile_rows + i) * L);
  for (int vb = 0; vb < word_blocks; ++vb) {
    for (int v = 0; v < NB; ++v) {
      F word[SLOTS];
      for (int s = 0; s < SLOTS; ++s) word[s] = load(words_p + (int64_t)s * slot_stride);
      for (int i = 0; i < ROWS; ++i) {
        F value = set1(grad[i * NB + v]);
        for (int s = 0; s < SLOTS; ++s) acc[i][s] = fma(value, word[s], acc[i][s]);
      }
      words_p += L;
    }
    grad += (int64_t)tile_rows * NB;
  }
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) store(out + ((int64_t)s * tile_rows + i) * L, acc[i][s]);
}

// Groups narrower than a vector: Q words share it; their lanes are summed at the end, Q rows to a vector.
template <int Q>
INLINE void hidden_gradient_shared(float* out, const float* words_p, const float* grad, int tile_rows,
                                   int word_blocks) {
  constexpr int ROWS = Q > 8 ? Q : 8;
  F acc[ROWS];
  for (int i = 0; i < ROWS; ++i) acc[i] = set1(0.0f);
  for (int vb = 0; vb < word_blocks; ++vb) {
    for (int v = 0; v < NB; v += Q) {
      F word = load(words_p);
      for (int i = 0; i < ROWS; ++i) acc[i] = fma(load_repeated<Q>(grad + i * NB + v), word, acc[i]);
      words_p += L;
    }
    grad += (int64_t)tile_rows * NB;
  }
  for (int left = ROWS; left > ROWS / Q; left /= 2)
    for (int i = 0; i < left / 2; ++i) acc[i] = pair_sums(acc[2 * i], acc[2 * i + 1]);
  for (int i = 0; i < ROWS / Q; ++i) store(out + i * L, add(load(out + i * L), acc[i]));
}

static void hidden_gradients(const Job& job, float* grad_hidden, const Slice& s, const float* grad, int group,
                             int rows, int word_blocks) {
  const int wide = padded_group(job.group_width, L), tile = job.tile_rows;
  const float* words_p = s.words_p + (int64_t)group * wide * job.tile_words;
  float* out = grad_hidden + (int64_t)group * wide * tile;
  if (wide >= L) {
    const int slot_stride = job.tile_words * L, slots = wide / L;
    for (int i = 0; i < rows; i += 12) {
      int slot = 0;
      for (; slot + 2 <= slots; slot += 2)
        hidden_gradient<12, 2>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * NB, tile, slot_stride, word_blocks);
      if (slot < slots)
        hidden_gradient<12, 1>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * NB, tile, slot_stride, word_blocks);
    }
    return;
  }
  const int shared = L / wide, step = shared > 8 ? shared : 8;
  for (int i = 0; i < rows; i += step) {
    const float* values = grad + i * NB;
    float* at = out + i * wide;
    if constexpr (L >= 16)
      if (shared == 16) hidden_gradient_shared<16>(at, words_p, values, tile, word_blocks);
    if constexpr (L >= 8)
      if (shared == 8) hidden_gradient_shared<8>(at, words_p, values, tile, word_blocks);
    if (shared == 4) hidden_gradient_shared<4>(at, words_p, values, tile, word_blocks);
    if (shared == 2) hidden_gradient_shared<2>(at, words_p, values, tile, word_blocks);
  }
}
