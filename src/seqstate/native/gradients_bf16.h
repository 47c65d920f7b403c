// Gradient products of two bfloat16 to a factor, summed in float32 (AVX512_BF16).
//
// Gradients are rounded once, into pairs of rows for the words' sums and pairs of words for the rows':
//   row pairs    [words / NB][tile_rows / 2][NB]      word pairs   [words / NB][tile_rows][NB / 2]
//   words_p      per group and slot [words / 2][lanes of a slot]
#pragma once

constexpr int HALF = NB / 2;

INLINE uint32_t* gradient_row_pairs(const Slice& s) { return reinterpret_cast<uint32_t*>(s.inner_grad); }
INLINE uint32_t* gradient_word_pairs(const Job& job, const Slice& s) {
  return gradient_row_pairs(s) + (int64_t)job.tile_rows * job.tile_words / 2;
}

// One group's gradients of a tile, from those of the logits and what was stored.
template <int From>
static void round_gradients(const Job& job, const Slice& s, int group, int row_blocks, int word_blocks) {
  GroupSums sums;
  for (int j = 0; j < NR; ++j) sums.tau[j] = sums.b[j] = set1(0.0f);
  for (int vb = 0; vb < word_blocks; ++vb) {
    const int64_t block = (int64_t)vb * job.tile_rows * NB;
    const float* given = s.logits + block;
    uint32_t *by_rows = gradient_row_pairs(s) + block / 2, *by_words = gradient_word_pairs(job, s) + block / 2;
    for (int rb = 0; rb < row_blocks; ++rb) {
      const float* stored = s.stored;
      if constexpr (From != kReady) stored += (((int64_t)vb * row_blocks + rb) * job.groups + group) * 2 * MR * NB;
      for (int i = 0; i < MR; i += 2, by_rows += NB)
        for (int j = 0; j < NR; ++j) {
          __m256i both[2];
          for (int n = 0; n < 2; ++n) {
            F value = load(given + (rb * MR + i + n) * NB + j * L);
            if constexpr (From != kReady) {
              const float* at = stored + 2 * (i + n) * NB + j * L;
              sums.tau[j] = fma(value, load(at), sums.tau[j]);
              value = mul(value, load(at + NB));
              sums.b[j] = add(value, sums.b[j]);
            }
            both[n] = rounded(value);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(by_words + (rb * MR + i + n) * HALF + j * L / 2), both[n]);
          }
          store_pairs(by_rows + j * L, paired(both[0], both[1]));
        }
    }
  }
  if constexpr (From == kReady) return;
  for (int j = 0; j < NR; ++j) {
    s.grad_tau[group] -= sum_of(sums.tau[j]);
    s.grad_b[group] += sum_of(sums.b[j]);
  }
}

// grad_words_t[k] += sum_rows grad[row] * hidden[row][k], for Count dimensions starting at `rows`.
template <int Count>
INLINE void word_gradient(const Job& job, float* grad_words_t, const uint32_t* rows, const uint32_t* grad,
                          int row_blocks) {
  F acc[Count][NR];
  for (int k = 0; k < Count; ++k)
    for (int j = 0; j < NR; ++j) acc[k][j] = load(grad_words_t + k * NB + j * L);
  for (int rb = 0; rb < row_blocks; ++rb, rows += (int64_t)job.width * (MR / 2))
    for (int i = 0; i < MR / 2; ++i, grad += NB) {
      __m512i value[NR];
      for (int j = 0; j < NR; ++j) value[j] = load_pairs(grad + j * L);
      for (int k = 0; k < Count; ++k) {
        const __m512i hidden = set1_pair(rows[k * (MR / 2) + i]);
        for (int j = 0; j < NR; ++j) acc[k][j] = add_products(acc[k][j], hidden, value[j]);
      }
    }
  for (int k = 0; k < Count; ++k)
    for (int j = 0; j < NR; ++j) store(grad_words_t + k * NB + j * L, acc[k][j]);
}

template <int From>
static void word_gradients(const Job& job, int first_row, const Slice& s, float*, int group, int row_blocks,
                           int word_blocks) {
  round_gradients<From>(job, s, group, row_blocks, word_blocks);
  if (!job.want_words) return;
  const int64_t D = job.width, K = job.group_width;
  for (int vb = 0; vb < word_blocks; ++vb) {
    const uint32_t* grad = gradient_row_pairs(s) + (int64_t)vb * job.tile_rows * HALF;
    float* out = s.grad_words_t + (vb * D + group * K) * NB;
    const uint32_t* rows = job.row_pairs + (first_row * D + group * K * MR) / 2;
    int64_t k = 0;
    for (; k + KR <= K; k += KR) word_gradient<KR>(job, out + k * NB, rows + k * (MR / 2), grad, row_blocks);
    for (; k + 2 <= K; k += 2) word_gradient<2>(job, out + k * NB, rows + k * (MR / 2), grad, row_blocks);
    if (k < K) word_gradient<1>(job, out + k * NB, rows + k * (MR / 2), grad, row_blocks);
  }
}

// Whole vectors of dimensions: grad_hidden[row][slot] += sum_words grad[row][word] * word[slot].
template <int ROWS, int SLOTS>
INLINE void hidden_gradient(float* out, const uint32_t* words_p, const uint32_t* grad, int tile_rows, int slot_stride,
                            int word_blocks) {
  F acc[ROWS][SLOTS];
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) acc[i][s] = load(out + ((int64_t)s * tile_rows + i) * L);
  for (int vb = 0; vb < word_blocks; ++vb, grad += (int64_t)tile_rows * HALF)
    for (int v = 0; v < HALF; ++v, words_p += L) {
      __m512i word[SLOTS];
      for (int s = 0; s < SLOTS; ++s) word[s] = load_pairs(words_p + (int64_t)s * slot_stride);
      for (int i = 0; i < ROWS; ++i) {
        const __m512i value = set1_pair(grad[i * HALF + v]);
        for (int s = 0; s < SLOTS; ++s) acc[i][s] = add_products(acc[i][s], value, word[s]);
      }
    }
  for (int i = 0; i < ROWS; ++i)
    for (int s = 0; s < SLOTS; ++s) store(out + ((int64_t)s * tile_rows + i) * L, acc[i][s]);
}

// Groups narrower than a vector: Q pairs of words share it; their lanes are summed at the end, Q rows to a vector.
template <int Q>
INLINE void hidden_gradient_shared(float* out, const uint32_t* words_p, const uint32_t* grad, int tile_rows,
                                   int word_blocks) {
  constexpr int ROWS = Q > 4 ? 8 : 12;
  F acc[ROWS];
  for (int i = 0; i < ROWS; ++i) acc[i] = set1(0.0f);
  for (int vb = 0; vb < word_blocks; ++vb, grad += (int64_t)tile_rows * HALF)
    for (int v = 0; v < HALF; v += Q, words_p += L) {
      const __m512i word = load_pairs(words_p);
      for (int i = 0; i < ROWS; ++i) {
        const F value = load_repeated<Q>(reinterpret_cast<const float*>(grad + i * HALF + v));
        acc[i] = add_products(acc[i], _mm512_castps_si512(value), word);
      }
    }
  for (int left = ROWS; left > ROWS / Q; left /= 2)
    for (int i = 0; i < left / 2; ++i) acc[i] = pair_sums(acc[2 * i], acc[2 * i + 1]);
  for (int i = 0; i < ROWS / Q; ++i) store(out + i * L, add(load(out + i * L), acc[i]));
}

static void hidden_gradients(const Job& job, float* grad_hidden, const Slice& s, const float*, int group, int rows,
                             int word_blocks) {
  const int wide = padded_group(job.group_width, L), tile = job.tile_rows;
  const uint32_t* words_p = reinterpret_cast<const uint32_t*>(s.words_p) + (int64_t)group * wide * job.tile_words / 2;
  const uint32_t* grad = gradient_word_pairs(job, s);
  float* out = grad_hidden + (int64_t)group * wide * tile;
  if (wide >= L) {
    const int slot_stride = job.tile_words / 2 * L, slots = wide / L;
    for (int i = 0; i < rows; i += HR) {
      int slot = 0;
      for (; slot + 2 <= slots; slot += 2)
        hidden_gradient<HR, 2>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * HALF, tile, slot_stride, word_blocks);
      if (slot < slots)
        hidden_gradient<HR, 1>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * HALF, tile, slot_stride, word_blocks);
    }
    return;
  }
  const int shared = L / wide, step = shared > 4 ? 8 : 12;
  for (int i = 0; i < rows; i += step) {
    float* at = out + i * wide;
    if (shared == 8) hidden_gradient_shared<8>(at, words_p, grad + i * HALF, tile, word_blocks);
    if (shared == 4) hidden_gradient_shared<4>(at, words_p, grad + i * HALF, tile, word_blocks);
    if (shared == 2) hidden_gradient_shared<2>(at, words_p, grad + i * HALF, tile, word_blocks);
  }
}

// Q pairs of words to a vector: lane = dimension * Q + pair % Q
static void pack_shared(const Job& job, const Slice& s, uint32_t* out, int group, int words) {
  const int64_t D = job.width, K = job.group_width, Q = L / padded_group((int)K, L);
  for (int v = 0; v < words; v += 2 * Q, out += L) {
    const float* from = s.words_t + ((v / NB) * D + group * K) * NB + v % NB;
    float lower[L] = {}, upper[L] = {};
    for (int k = 0; k < K; ++k)
      for (int q = 0; q < Q; ++q) {
        lower[k * Q + q] = from[k * NB + 2 * q];
        upper[k * Q + q] = from[k * NB + 2 * q + 1];
      }
    store_pairs(out, paired(rounded(load(lower)), rounded(load(upper))));
  }
}

static void pack_slots(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const int D = job.width, K = job.group_width, wide = padded_group(K, L), half = job.tile_words / 2;
  for (int g = 0; g < job.groups; ++g) {
    uint32_t* out = reinterpret_cast<uint32_t*>(s.words_p) + (int64_t)g * wide * half;
    if (wide < L) {
      pack_shared(job, s, out, g, word_blocks * NB);
      continue;
    }
    for (int k0 = 0; k0 < wide; k0 += L, out += (int64_t)half * L) {
      const __mmask16 real = K - k0 < L ? (__mmask16)((1 << (K - k0)) - 1) : 0xffff;
      for (int v = 0; v < word_blocks * NB; v += 2) {
        const float* from = job.table + (first + v) * D + g * K + k0;
        const F lower = _mm512_maskz_loadu_ps(v < count ? real : 0, from);
        const F upper = _mm512_maskz_loadu_ps(v + 1 < count ? real : 0, from + D);
        store_pairs(out + (int64_t)v / 2 * L, paired(rounded(lower), rounded(upper)));
      }
    }
  }
}
