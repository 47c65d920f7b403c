// One thread's share of the forward and of the backward pass. Included once per instruction set.
#pragma once

template <class Activation>
static void forward_slice(const Job& job, const Slice& s) {
  start_statistics(job, s);
  for (int64_t v = s.first_word; v < s.last_word; v += job.tile_words) {
    const int count = (int)(s.last_word - v < job.tile_words ? s.last_word - v : job.tile_words);
    const int word_blocks = (count + NB - 1) / NB;
    pack_transposed(job, s, v, count, word_blocks);
    pack_factors(job, s, word_blocks);
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

template <class Activation>
static void backward_tile(const Job& job, const Slice& s, int first_row, int rows, int64_t first_word, int count,
                          int word_blocks) {
  const int row_blocks = (rows + MR - 1) / MR;
  constexpr int from = same<Activation, Identity> ? kReady : same<Activation, Peak> ? kPeaks : kSlopes;
  const int wide = padded_group(job.group_width, L) * job.groups;
  float* grad_hidden = s.grad_hidden + (int64_t)first_row * wide;
  constexpr bool groups = !same<Activation, Identity>;
  score<Activation, groups>(job, s, first_row, row_blocks, word_blocks);
  logit_gradients(job, s, first_row, row_blocks, first_word, count, word_blocks);
  for (int g = 0; g < job.groups; ++g) {
    float* gradient = groups ? s.inner_grad : s.logits;
    word_gradients<from>(job, first_row, s, gradient, g, row_blocks, word_blocks);
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
    pack_factors(job, s, word_blocks);
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
