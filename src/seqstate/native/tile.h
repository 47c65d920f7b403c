// The three products of a tile, and packing. Included once per instruction set, after its vec_*.h.
//
// Layouts (NB = NR vectors of words, MR rows: the register block):
//   packed hidden   [rows / MR][D][MR]            words_t, grad_words_t   [words / NB][D][NB]
//   scores          [words / NB][tile_rows][NB]   words_p   per group and slot [words][lanes of a slot]
//   grad_hidden     [tile][group][slot][tile_rows][lanes of a slot]
// A slot is one vector of a group's numbers; a group narrower than a vector shares it between Q words.
// Products of bfloat16 have their own layouts: products_bf16.h, gradients_bf16.h.
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

// acc[i][j] = start(i, j) + scale of the group * sum over it of row i * word vector j
template <class Start>
INLINE void product(const Job& job, int group, F (&acc)[MR][NR], const Factor* rows, const Factor* words, int depth,
                    Start start) {
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) acc[i][j] = kScaled ? start(i, j) : set1(0.0f);
  for (int k = 0; k < depth; ++k) {
    Factors word[NR];
    for (int j = 0; j < NR; ++j) word[j] = load_factors(words + j * L);
    for (int i = 0; i < MR; ++i) {
      const Factors value = set1_factor(rows[i]);
      for (int j = 0; j < NR; ++j) acc[i][j] = add_products(acc[i][j], value, word[j]);
    }
    rows += MR;
    words += NB;
  }
  if constexpr (kScaled) return;
  const F scale = set1(job.row_scale[group]);
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) acc[i][j] = fma(scale, acc[i][j], start(i, j));
}

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

enum Source { kReady, kSlopes, kPeaks };  // where a group's gradients come from

#include SEQSTATE_GRADIENTS
#include "hidden.h"
