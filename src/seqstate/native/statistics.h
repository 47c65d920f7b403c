// From the logits of a tile to the softmax, and back to their gradients. Included once per instruction set.
#pragma once

// 2^x for x up to 127; 0 where x is -127 or less, -inf included
struct SoftmaxPower {
  Power power;
  F least;
  static INLINE SoftmaxPower make() { return {Power::make(), set1(-127.0f)}; }
  INLINE F operator()(F x) const { return power(at_least(x, least)); }
};

static void start_statistics(const Job& job, const Slice& s) {
  for (int n = 0; n < job.rows; ++n) {
    s.row_max[n] = -3.0e38f;
    for (int i = 0; i < L; ++i) s.row_sum[(int64_t)n * L + i] = 0.0f;
    if (job.smoothing)
      for (int i = 0; i < L; ++i) s.row_total[(int64_t)n * L + i] = 0.0f;
  }
}

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
