// Gradient products of numbers as they are. Included by tile.h, unless an instruction set brings its own.
#pragma once

// Where the gradients of a group of peaks are summed over rows and over words, lane by lane.
struct PeakSums {
  float *of_words, *of_rows;  // [NB]; [rows][L]
};

// grad_words_t[k] += sum_rows grad[row] * hidden[row][k], for Count dimensions starting at `rows`. Unless it is ready,
// grad is first made from the gradient of the logits and what was stored, and kept for the other uses.
template <int Count, int From>
INLINE void word_gradient(const Job& job, float* grad_words_t, const float* rows, float* grad, const float* given,
                          const float* stored, GroupSums& sums, PeakSums peaks, int row_blocks) {
  F acc[Count ? Count : 1][NR];
  for (int k = 0; k < Count; ++k)
    for (int j = 0; j < NR; ++j) acc[k][j] = load(grad_words_t + k * NB + j * L);
  F of_words[NR];
  for (int j = 0; j < NR; ++j) of_words[j] = set1(0.0f);
  for (int rb = 0; rb < row_blocks; ++rb) {
    for (int i = 0; i < MR; ++i) {
      F value[NR];
      for (int j = 0; j < NR; ++j) {
        if constexpr (From == kReady) {
          value[j] = load(grad + j * L);
          continue;
        }
        const F logit = load(given + j * L);
        const F miss = load(stored + 2 * i * NB + j * L), slope = load(stored + (2 * i + 1) * NB + j * L);
        value[j] = mul(logit, From == kPeaks ? miss : slope);
        if constexpr (From == kPeaks) {
          of_words[j] = add(value[j], of_words[j]);
          sums.b[j] = fma(value[j], slope, sums.b[j]);
        } else {
          sums.tau[j] = fma(logit, miss, sums.tau[j]);
          sums.b[j] = add(value[j], sums.b[j]);
        }
        store(grad + j * L, value[j]);
      }
      if constexpr (From == kPeaks) {
        float* of_row = peaks.of_rows + (rb * MR + i) * L;
        F total = load(of_row);
        for (int j = 0; j < NR; ++j) total = add(total, value[j]);
        store(of_row, total);
      }
      for (int k = 0; k < Count; ++k) {
        const F hidden = set1(rows[k * MR + i]);
        for (int j = 0; j < NR; ++j) acc[k][j] = fma(hidden, value[j], acc[k][j]);
      }
      grad += NB;
      given += NB;
    }
    rows += (int64_t)job.width * MR;
    stored += (int64_t)job.groups * 2 * MR * NB;
  }
  for (int k = 0; k < Count; ++k)
    for (int j = 0; j < NR; ++j) store(grad_words_t + k * NB + j * L, acc[k][j]);
  if constexpr (From == kPeaks)
    for (int j = 0; j < NR; ++j) {
      sums.tau[j] = add(of_words[j], sums.tau[j]);
      store(peaks.of_words + j * L, add(load(peaks.of_words + j * L), of_words[j]));
    }
}

// One group of a tile. `grad`: gradients of the inner arguments (up to a factor), made here if there are groups.
template <int From>
static void word_gradients(const Job& job, int first_row, const Slice& s, float* grad, int group, int row_blocks,
                           int word_blocks) {
  const int64_t D = job.width, K = job.group_width;
  const int64_t block = (int64_t)row_blocks * job.groups * 2 * MR * NB;
  constexpr bool Groups = From != kReady;
  if (From == kPeaks) memset(s.row_part, 0, sizeof(float) * row_blocks * MR * L);
  GroupSums sums;
  for (int j = 0; j < NR; ++j) sums.tau[j] = sums.b[j] = set1(0.0f);
  for (int vb = 0; vb < word_blocks; ++vb) {
    float* values = grad + (int64_t)vb * job.tile_rows * NB;
    const float* given = s.logits + (int64_t)vb * job.tile_rows * NB;
    const float* stored = Groups ? s.stored + vb * block + (int64_t)group * 2 * MR * NB : nullptr;
    float* out = s.grad_words_t + (vb * D + group * K) * NB;
    const float* rows = job.packed + first_row * D + group * K * MR;
    const PeakSums peaks{s.word_sum + ((int64_t)vb * job.groups + group) * NB, s.row_part};
    int64_t k = job.want_words ? 0 : K;
    auto step = [&](auto count, auto from) INLINE_LAMBDA {
      word_gradient<count.value, from.value>(job, out + k * NB, rows + k * MR, values, given, stored, sums, peaks,
                                             row_blocks);
      k += count.value;
    };
    if constexpr (Groups) {  // the first dimensions are done while the gradients are made
      if (k + KR <= K) step(Number<KR>{}, Number<From>{});
      else if (k + 2 <= K) step(Number<2>{}, Number<From>{});
      else if (k < K) step(Number<1>{}, Number<From>{});
      else step(Number<0>{}, Number<From>{});
    }
    while (k + KR <= K) step(Number<KR>{}, Number<kReady>{});
    while (k + 2 <= K) step(Number<2>{}, Number<kReady>{});
    while (k < K) step(Number<1>{}, Number<kReady>{});
  }
  if constexpr (!Groups) return;
  for (int j = 0; j < NR; ++j) {
    s.grad_tau[group] -= sum_of(sums.tau[j]);
    s.grad_b[group] += sum_of(sums.b[j]);
  }
}

INLINE const Factor* row_gradients(const Job&, const Slice&, const float* grad) { return grad; }

// Q words to a vector: lane = dimension * Q + word % Q
template <int Q>
static void pack_shared(const Job& job, const Slice& s, float* out, int group, int words) {
  const int D = job.width, K = job.group_width;
  for (int v = 0; v < words; v += Q, out += L) {
    const float* from = s.words_t + ((int64_t)(v / NB) * D + group * K) * NB + v % NB;
    for (int k = 0; k < K; ++k) memcpy(out + k * Q, from + (int64_t)k * NB, Q * sizeof(float));
    for (int k = K * Q; k < L; ++k) out[k] = 0.0f;
  }
}

// words_p: per group and slot, [word][lane]
static void pack_slots(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const int D = job.width, K = job.group_width, wide = padded_group(K, L), tile = job.tile_words;
  const int words = word_blocks * NB;
  for (int g = 0; g < job.groups; ++g) {
    float* out = s.words_p + (int64_t)g * wide * tile;
    if (wide < L) {
      const int shared = L / wide;
      if (shared == 2) pack_shared<2>(job, s, out, g, words);
      if (shared == 4) pack_shared<4>(job, s, out, g, words);
      if (shared == 8) pack_shared<8>(job, s, out, g, words);
      if (shared == 16) pack_shared<16>(job, s, out, g, words);
      continue;
    }
    for (int k0 = 0; k0 < wide; k0 += L, out += (int64_t)tile * L) {
      const int real = K - k0 < L ? K - k0 : L;
      for (int v = 0; v < words; ++v) {
        const float* from = job.table + (first + v) * D + g * K + k0;
        if (v < count && real == L)
          store(out + (int64_t)v * L, load(from));
        else
          for (int k = 0; k < L; ++k) out[(int64_t)v * L + k] = v < count && k < real ? from[k] : 0.0f;
      }
    }
  }
}
