// One thread's share of the forward and of the backward pass. Included once per instruction set.
#pragma once

// 2^x for x up to 127; 0 where x is -127 or less, -inf included
struct SoftmaxPower {
  Power power;
  F least;
  static INLINE SoftmaxPower make() { return {Power::make(), set1(-127.0f)}; }
  INLINE F operator()(F x) const { return power(at_least(x, least)); }
};

// Running maximum and sum of 2^(logit - maximum) of every row of a tile.
static void gather_statistics(const Job& job, const Slice& s, int first_row, int rows, int64_t first_word,
                              int count, int word_blocks) {
  const SoftmaxPower softmax_power = SoftmaxPower::make();
  for (int n = 0; n < rows; ++n) {
    const float* logits = s.logits + n * NB;
    const int64_t block = (int64_t)job.tile_rows * NB;
    F most = load(logits);
    for (int vb = 0; vb < word_blocks; ++vb)
      for (int j = 0; j < NB; j += L) most = at_least(load(logits + vb * block + j), most);
    const int row = first_row + n;
    float* sums = s.row_sum + (int64_t)row * L;
    const float top = max_of(most);
    if (!(top <= s.row_max[row])) {
      store(sums, mul(load(sums), softmax_power(set1(s.row_max[row] - top))));
      s.row_max[row] = top;
    }
    const F reference = set1(s.row_max[row]);
    F sum = set1(0.0f);
    for (int vb = 0; vb < word_blocks; ++vb)
      for (int j = 0; j < NB; j += L)
        sum = add(sum, softmax_power(sub(load(logits + vb * block + j), reference)));
    store(sums, add(load(sums), sum));
    if (job.smoothing) {
      float* totals = s.row_total + (int64_t)row * L;
      for (int v = 0; v < count; ++v) totals[v % L] += logits[(v / NB) * block + v % NB];
    }
    const int64_t at = job.target[row] - first_word;
    if (at >= 0 && at < count) job.target_logit[row] = logits[(at / NB) * block + at % NB];
  }
}

template <class Activation>
static void forward_slice(const Job& job, const Slice& s) {
  for (int n = 0; n < job.rows; ++n) {
    s.row_max[n] = -3.0e38f;
    for (int i = 0; i < L; ++i) s.row_sum[(int64_t)n * L + i] = 0.0f;
    if (job.smoothing)
      for (int i = 0; i < L; ++i) s.row_total[(int64_t)n * L + i] = 0.0f;
  }
  for (int64_t v = s.first_word; v < s.last_word; v += job.tile_words) {
    const int count = (int)(s.last_word - v < job.tile_words ? s.last_word - v : job.tile_words);
    const int word_blocks = (count + NB - 1) / NB;
    pack_transposed(job, s, v, count, word_blocks);
    if (Activation::limit > 0.0f) word_norms(job, s, word_blocks);
    if (same<Activation, Peak>) word_offsets(job, s, word_blocks);
    pack_bias(job, s, v, count, word_blocks);
    for (int r = 0; r < job.rows; r += job.tile_rows) {
      const int rows = job.rows - r < job.tile_rows ? job.rows - r : job.tile_rows;
      score<Activation, false>(job, s, r, (rows + MR - 1) / MR, word_blocks);
      gather_statistics(job, s, r, rows, v, count, word_blocks);
    }
  }
}

// Logits of a tile become their gradients, in place; the bias gradient is their sum over the rows.
static void logit_gradients(const Job& job, const Slice& s, int first_row, int row_blocks, int64_t first_word,
                            int count, int word_blocks) {
  const SoftmaxPower softmax_power = SoftmaxPower::make();
  const int rows = row_blocks * MR;
  for (int vb = 0; vb < word_blocks; ++vb) {
    float* block = s.logits + (int64_t)vb * job.tile_rows * NB;
    F sum[NR];
    for (int j = 0; j < NR; ++j) sum[j] = load(s.grad_bias + vb * NB + j * L);
    for (int n = 0; n < rows; ++n) {
      const int row = first_row + n;
      const F most = set1(job.lse_max[row]), rest = set1(job.lse_log[row]);
      const F by_p = set1(job.grad_p[row]), all = set1(job.grad_all[row]);
      for (int j = 0; j < NR; ++j) {
        float* at = block + n * NB + j * L;
        F gradient = sub(mul(by_p, softmax_power(sub(sub(load(at), most), rest))), all);
        store(at, gradient);
        sum[j] = add(sum[j], gradient);
      }
    }
    for (int j = 0; j < NR; ++j) store(s.grad_bias + vb * NB + j * L, sum[j]);
  }
  for (int v = count; v < word_blocks * NB; ++v)  // absent words
    for (int n = 0; n < rows; ++n) s.logits[((int64_t)(v / NB) * job.tile_rows + n) * NB + v % NB] = 0.0f;
  for (int n = 0; n < rows && first_row + n < job.rows; ++n) {
    const int64_t at = job.target[first_row + n] - first_word;
    if (at < 0 || at >= count) continue;
    s.logits[((at / NB) * job.tile_rows + n) * NB + at % NB] -= job.grad_target[first_row + n];
    s.grad_bias[at] -= job.grad_target[first_row + n];
  }
}

template <class Activation>
static void backward_tile(const Job& job, const Slice& s, int first_row, int rows, int64_t first_word, int count,
                          int word_blocks) {
  const int row_blocks = (rows + MR - 1) / MR;
  const float* packed = job.packed + (int64_t)first_row * job.width;
  constexpr int from = same<Activation, Identity> ? kReady : same<Activation, Peak> ? kPeaks : kSlopes;
  const int wide = padded_group(job.group_width, L) * job.groups;
  float* grad_hidden = s.grad_hidden + (int64_t)first_row * wide;
  constexpr bool groups = !same<Activation, Identity>;
  score<Activation, groups>(job, s, first_row, row_blocks, word_blocks);
  logit_gradients(job, s, first_row, row_blocks, first_word, count, word_blocks);
  for (int g = 0; g < job.groups; ++g) {
    float* gradient = groups ? s.inner_grad : s.logits;
    word_gradients<from>(job, packed, s, gradient, g, row_blocks, word_blocks);
    if constexpr (from == kPeaks)
      for (int n = 0; n < row_blocks * MR; ++n)
        s.row_own[(int64_t)(first_row + n) * job.groups + g] += sum_of(load(s.row_part + n * L));
    if (job.want_hidden) hidden_gradients(job, grad_hidden, s, gradient, g, row_blocks * MR, word_blocks);
  }
}

template <class Activation>
static void backward_slice(const Job& job, const Slice& s) {
  const int tiles = (job.rows + job.tile_rows - 1) / job.tile_rows, D = job.width;
  if (job.want_hidden)
    memset(s.grad_hidden, 0,
           sizeof(float) * tiles * job.tile_rows * padded_group(job.group_width, L) * job.groups);
  constexpr bool peaks = same<Activation, Peak>;
  if (peaks) memset(s.row_own, 0, sizeof(float) * job.padded_rows * job.groups);
  for (int g = 0; g < job.groups; ++g) s.grad_tau[g] = s.grad_b[g] = 0.0;
  for (int64_t v = s.first_word; v < s.last_word; v += job.tile_words) {
    const int count = (int)(s.last_word - v < job.tile_words ? s.last_word - v : job.tile_words);
    const int word_blocks = (count + NB - 1) / NB;
    pack_transposed(job, s, v, count, word_blocks);
    if (Activation::limit > 0.0f) word_norms(job, s, word_blocks);
    if (peaks) word_offsets(job, s, word_blocks);
    if (job.want_hidden) pack_slots(job, s, v, count, word_blocks);
    pack_bias(job, s, v, count, word_blocks);
    memset(s.grad_words_t, 0, sizeof(float) * word_blocks * NB * D);
    memset(s.grad_bias, 0, sizeof(float) * word_blocks * NB);
    if (peaks) memset(s.word_sum, 0, sizeof(float) * word_blocks * NB * job.groups);
    for (int r = 0; r < job.rows; r += job.tile_rows) {
      const int rows = job.rows - r < job.tile_rows ? job.rows - r : job.tile_rows;
      backward_tile<Activation>(job, s, r, rows, v, count, word_blocks);
    }
    if (peaks) subtract_own(job, s, word_blocks);
    if (job.want_words) unpack_word_gradients(job, s, v, count, word_blocks);
    if (job.grad_bias)
      for (int i = 0; i < count; ++i)
        job.grad_bias[v + i] = (job.first_block ? 0.0f : job.grad_bias[v + i]) + s.grad_bias[i];
  }
}

static void forward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return forward_slice<Identity>(job, s);
    case kSigmoid: return forward_slice<Sigmoid>(job, s);
    case kClampedLinear: return forward_slice<ClampedLinear>(job, s);
    case kPeak: return forward_slice<Peak>(job, s);
    default: return forward_slice<Rational>(job, s);
  }
}

static void backward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return backward_slice<Identity>(job, s);
    case kSigmoid: return backward_slice<Sigmoid>(job, s);
    case kClampedLinear: return backward_slice<ClampedLinear>(job, s);
    case kPeak: return backward_slice<Peak>(job, s);
    default: return backward_slice<Rational>(job, s);
  }
}

