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
      for (int j = 0; j < NR; ++j) value[j] = load_factors(grad + j * L);
      for (int k = 0; k < Count; ++k) {
        const __m512i hidden = set1_factor(rows[k * (MR / 2) + i]);
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

INLINE const Factor* row_gradients(const Job& job, const Slice& s, const float*) { return gradient_word_pairs(job, s); }

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
