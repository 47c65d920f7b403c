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
// miss = sigma(-z), and `slope`, proportional to -dmiss/dz. Arguments are clamped to +-30 as in torch, unless
// it is known (Within) that none is beyond `limit`.
struct Sigmoid {
  // t = z log2 e; slope = sigma (1 - sigma), both factors exact to an ulp even when saturated
  static constexpr float limit = 43.0f;
  Power power;
  F bound;
  static INLINE Sigmoid make() { return {Power::make(), pinned(set1(43.2808512f))}; }
  template <bool Within>
  INLINE void operator()(F t, F& miss, F& slope) const {
    if constexpr (!Within) t = at_most(at_least(t, sub(set1(0.0f), bound)), bound);
    const F odds = power(t);
    miss = reciprocal(add(set1(1.0f), odds));
    slope = mul(mul(odds, miss), miss);
  }
};
struct ClampedLinear {
  // t = z / 4; slope = 1 inside
  static constexpr float limit = 0.0f;
  F half, one, zero;
  static INLINE ClampedLinear make() { return {pinned(set1(0.5f)), pinned(set1(1.0f)), pinned(set1(0.0f))}; }
  template <bool Within>
  INLINE void operator()(F t, F& miss, F& slope) const {
    miss = at_least(at_most(sub(half, t), one), zero);
    slope = where_within(one, t, half);
  }
};
struct Rational {
  // t = z / 2: miss = 1/2 - t / (2 (1 + |t|)); slope = 1 / (1 + |t|)^2
  static constexpr float limit = 14.9f;
  F half, one, bound;
  static INLINE Rational make() { return {pinned(set1(0.5f)), pinned(set1(1.0f)), pinned(set1(15.0f))}; }
  template <bool Within>
  INLINE void operator()(F t, F& miss, F& slope) const {
    const F kept = Within ? t : at_most(at_least(t, sub(set1(0.0f), bound)), bound);
    const F size = absolute(kept);
    const F inverse = reciprocal(add(one, size));
    miss = mul(mul(half, inverse), add(sub(size, kept), one));
    slope = mul(inverse, inverse);
    if constexpr (!Within) slope = where_within(slope, t, bound);
  }
};
struct Peak {
  // t = -a |h - w|^2 log2 e: "miss" is 2^t, which is its own slope; t itself is kept for the gradient of a
  static constexpr float limit = 0.0f;
  Power power;
  F least, zero;
  static INLINE Peak make() { return {Power::make(), pinned(set1(-127.0f)), pinned(set1(0.0f))}; }
  template <bool Within>
  INLINE void operator()(F t, F& miss, F& slope) const {
    slope = at_most(at_least(t, least), zero);  // rounding may leave a distance below 0
    miss = power(slope);
  }
};
template <int N>
struct Number {
  static constexpr int value = N;
};

struct Identity {  // the inner product: no groups, no miss
  static constexpr float limit = 0.0f;
};

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

#include SEQSTATE_PRODUCTS

// Logits (base 2) of a block of rows and words, which start as the bias.
INLINE void score_inner(const Job& job, const Factor* rows, const Factor* words, const float* bias, float* out) {
  F logit[MR][NR];
  product(job, 0, logit, rows, words, depth_of(job.width), [&](int, int j) INLINE_LAMBDA { return load(bias + j * L); });
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) store(out + i * NB + j * L, logit[i][j]);
}

// What the lengths of a block of rows and of a block of words add to the inner arguments of peaks.
struct OwnLengths {
  const float *rows, *words;  // [G][MR], [G][NB]
};

// The same through groups. With Store also every group's miss and slope, as [G][MR][2][NB].
template <class Activation, bool Within, bool Store>
INLINE void score_groups(const Job& job, const Factor* rows, const Factor* words, const float* bias, OwnLengths own,
                         float* out, float* stored) {
  const int depth = depth_of(job.group_width);
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) store(out + i * NB + j * L, load(bias + j * L));
  for (int g = 0; g < job.groups; ++g) {
    F inner[MR][NR];
    const F offset = set1(job.inner_b[g]), tau = set1(job.tau2[g]);
    product(job, g, inner, rows, words, depth, [&](int i, int j) INLINE_LAMBDA {
      if constexpr (same<Activation, Peak>)
        return add(set1(own.rows[g * MR + i]), load(own.words + g * NB + j * L));
      else
        return offset;
    });
    const Activation activation = Activation::make();
    for (int i = 0; i < MR; ++i)
      for (int j = 0; j < NR; ++j) {
        F miss, slope;
        activation.template operator()<Within>(inner[i][j], miss, slope);
        float* logit = out + i * NB + j * L;
        store(logit, fnma(tau, miss, load(logit)));
        if constexpr (Store) {
          store(stored + 2 * i * NB + j * L, miss);
          store(stored + (2 * i + 1) * NB + j * L, slope);
        }
      }
    rows += depth * MR;
    words += depth * NB;
    stored += 2 * MR * NB;
  }
}

// A whole tile; `stored` becomes [words / NB][rows / MR][G][MR][2][NB].
template <class Activation, bool Within, bool Store>
static void score_tile(const Job& job, int first_row, const Slice& s, int row_blocks, int word_blocks) {
  const int64_t depth = (int64_t)depth_of(job.group_width) * job.groups;
  const Factor* packed = row_factors(job) + first_row * depth;
  float* stored = s.stored;
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int rb = 0; rb < row_blocks; ++rb) {
      const Factor *rows = packed + rb * depth * MR, *words = word_factors(s) + vb * depth * NB;
      const float* bias = s.bias + vb * NB;
      float* out = s.logits + ((int64_t)vb * job.tile_rows + rb * MR) * NB;
      OwnLengths own{};
      if constexpr (same<Activation, Peak>)
        own = {job.row_offset + (int64_t)(first_row + rb * MR) * job.groups,
               s.word_offset + (int64_t)vb * job.groups * NB};
      if constexpr (same<Activation, Identity>)
        score_inner(job, rows, words, bias, out);
      else
        score_groups<Activation, Within, Store>(job, rows, words, bias, own, out, stored);
      if constexpr (Store) stored += (int64_t)job.groups * 2 * MR * NB;
    }
}

// Can no inner argument of this tile be beyond the activation's limit? (Cauchy and Schwarz.) The limits leave room
// for words that rounding to bfloat16 has made longer.
static bool within_limit(const Job& job, const Slice& s, int first_row, float limit) {
  const float* row_norm = job.row_norm + (int64_t)(first_row / job.tile_rows) * job.groups;
  for (int g = 0; g < job.groups; ++g) {
    const float most = row_norm[g] * s.word_norm[g] + (job.inner_b[g] < 0 ? -job.inner_b[g] : job.inner_b[g]);
    if (!(most <= limit)) return false;
  }
  return true;
}

template <class Activation, bool Store>
static void score(const Job& job, const Slice& s, int first_row, int row_blocks, int word_blocks) {
  if (Activation::limit > 0.0f && within_limit(job, s, first_row, Activation::limit))
    score_tile<Activation, true, Store>(job, first_row, s, row_blocks, word_blocks);
  else
    score_tile<Activation, false, Store>(job, first_row, s, row_blocks, word_blocks);
}

// Sums of dlogit * miss and of dlogit * slope, lane by lane: behind the gradients of tau and b. Of peaks:
// of the gradients themselves and of gradient * argument, behind those of tau and a.
struct GroupSums {
  F tau[NR], b[NR];
};

// Where the gradients of a group of peaks are summed over rows and over words, lane by lane.
struct PeakSums {
  float *of_words, *of_rows;  // [NB]; [rows][L]
};

enum Source { kReady, kSlopes, kPeaks };  // where a group's gradients come from

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
static void word_gradients(const Job& job, const float* packed, const Slice& s, float* grad, int group,
                           int row_blocks, int word_blocks) {
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
    const float* rows = packed + group * K * MR;
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

// Rows at a time: at least Q, and enough to hide the latency of a sum.
constexpr int rows_sharing(int words) { return words > 8 ? words : words > 4 ? 8 : 12; }

// Groups narrower than a vector: Q words share it; their lanes are summed at the end, Q rows to a vector.
template <int Q>
INLINE void hidden_gradient_shared(float* out, const float* words_p, const float* grad, int tile_rows,
                                   int word_blocks) {
  constexpr int ROWS = rows_sharing(Q);
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
    for (int i = 0; i < rows; i += HR) {
      int slot = 0;
      for (; slot + 2 <= slots; slot += 2)
        hidden_gradient<HR, 2>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * NB, tile, slot_stride, word_blocks);
      if (slot < slots)
        hidden_gradient<HR, 1>(out + ((int64_t)slot * tile + i) * L, words_p + (int64_t)slot * slot_stride,
                               grad + i * NB, tile, slot_stride, word_blocks);
    }
    return;
  }
  const int shared = L / wide, step = rows_sharing(shared);
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
