// The two ends of a cross-entropy, one row at a time: the loss, and what it makes of a logit's gradient.
#pragma once
#include <cmath>

#include "work.h"

namespace seqstate {

// What is known of a row once all threads are through: the highest logit, the target's (base 2), the sum of
// 2^(logit - highest), and the sum of all logits if labels are smoothed.
struct RowScores {
  float most, target;
  double sum, total;
};

// Any problem with targets, smoothing, z_loss and a number of words.
template <class Problem>
void softmax_loss(const Problem& p, const RowScores& row, int64_t at, const Forward& out) {
  const double rest = std::log2(row.sum);
  double nll = (1.0 - p.smoothing) * ((double)row.most - row.target + rest);
  if (p.smoothing != 0.0) nll += p.smoothing * (row.most - row.total / p.words + rest);
  const double lse = kLn2 * (row.most + rest);
  out.nll[at] = (float)(kLn2 * nll + p.z_loss * lse * lse);
  out.lse_max[at] = row.most;
  out.lse_log[at] = (float)rest;
}

// dlogit = by_p * p - all - by_target * [word is the target], p by the row's log-sum-exp in two parts.
struct LogitGradients {
  float *lse_max, *lse_log, *by_p, *all, *by_target;

  void take(Arena& arena, int64_t rows) {
    for (float** part : {&lse_max, &lse_log, &by_p, &all, &by_target}) *part = arena.take(rows);
  }

  template <class Job>
  void give(Job& job) const {
    job.lse_max = lse_max;
    job.lse_log = lse_log;
    job.grad_p = by_p;
    job.grad_all = all;
    job.grad_target = by_target;
  }

  // The n-th row of a block, which is row `row` of the problem; -1: it only fills up a block.
  template <class Problem>
  void set(const Problem& p, int n, int64_t row, double given, const float* of_max, const float* of_log) {
    lse_max[n] = row < 0 ? INFINITY : of_max[row];
    lse_log[n] = row < 0 ? 0.0f : of_log[row];
    const double lse = kLn2 * ((double)lse_max[n] + lse_log[n]);
    by_p[n] = row < 0 ? 0.0f : (float)(given * (1.0 + 2.0 * p.z_loss * lse));
    all[n] = (float)(given * p.smoothing / p.all_words());
    by_target[n] = (float)(given * (1.0 - p.smoothing));
  }
};

}  // namespace seqstate
