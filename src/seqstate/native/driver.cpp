#include "driver.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "pass.h"
#include "softmax.h"

namespace seqstate {

bool poison = false;

int64_t forward(const Problem& p, const Isa& isa, int threads, const Forward& out) {
  for (int64_t r = 0; r < p.rows; ++r) {
    if (p.targets[r] != p.ignore && (p.targets[r] < 0 || p.targets[r] >= p.all_words())) return -1 - r;
    out.nll[r] = out.lse_max[r] = out.lse_log[r] = 0.0f;
  }
  Pass pass(p, isa, threads, false);
  if (!pass.arena.ok()) return 1;
  pass.set_up();
  float* target_logit = pass.arena.take(pass.plan.block_rows);
  pass.job.target_logit = target_logit;
  for (auto& s : pass.slices) {
    pass.take_tiles(s, false);
    s.row_max = pass.arena.take(pass.plan.block_rows);
    s.row_sum = pass.arena.take((int64_t)pass.plan.block_rows * isa.lanes);
    if (pass.plan.smoothing) s.row_total = pass.arena.take((int64_t)pass.plan.block_rows * isa.lanes);
  }
  while (pass.next_block([&](int64_t r) { return p.targets[r] != p.ignore; })) {
    std::fill_n(target_logit, pass.job.rows, 0.0f);
    fork_join(pass.plan.threads, [&](int t) { pass.forward()(pass.job, pass.slices[t]); });
    for (int n = 0; n < pass.job.rows; ++n) {
      float most = pass.slices[0].row_max[n];
      for (const auto& s : pass.slices) most = s.row_max[n] > most ? s.row_max[n] : most;
      double sum = 0.0, total = 0.0;
      for (const auto& s : pass.slices) {
        const double scale = std::exp2((double)s.row_max[n] - most);
        for (int i = 0; i < isa.lanes; ++i) sum += scale * s.row_sum[(int64_t)n * isa.lanes + i];
        if (pass.plan.smoothing)
          for (int i = 0; i < isa.lanes; ++i) total += s.row_total[(int64_t)n * isa.lanes + i];
      }
      softmax_loss(p, {most, target_logit[n], sum, total}, pass.index[n], out);
    }
  }
  return 0;
}

namespace {

// Joins the threads' sums of gradient * word for some rows: gradients of the hidden vectors, and what each
// group adds to the gradient of a (the product of a hidden vector with its sum).
void join_hidden(const Pass& pass, const float* factor, int first, int last, float* grad_hidden, double* grad_a) {
  const int K = pass.job.group_width, lanes = pass.isa.lanes, tile = pass.plan.tile_rows;
  const int wide = padded_group(K, lanes), slot = std::min(wide, lanes);
  for (int n = first; n < last; ++n)
    for (int g = 0; g < pass.p.groups; ++g) {
      const int64_t group = ((int64_t)(n / tile) * pass.plan.wide + g * wide) * tile + n % tile * slot;
      const int64_t out = pass.index[n] * pass.p.width + (int64_t)g * K;
      float product = 0.0f;
      for (int k0 = 0; k0 < K; k0 += lanes) {
        const int real = std::min(lanes, K - k0);
        float sum[16] = {};
        for (const auto& s : pass.slices)
          for (int k = 0; k < real; ++k) sum[k] += s.grad_hidden[group + (int64_t)k0 * tile + k];
        if (pass.plan.groups)
          for (int k = 0; k < real; ++k) product += sum[k] * pass.p.hidden[out + k0 + k];
        if (!grad_hidden) continue;
        float own = 0.0f;
        if (pass.plan.peaks)
          for (const auto& s : pass.slices) own += s.row_own[(int64_t)n * pass.p.groups + g];
        for (int k = 0; k < real; ++k) grad_hidden[out + k0 + k] = factor[g] * sum[k];
        if (pass.plan.peaks)
          for (int k = 0; k < real; ++k) grad_hidden[out + k0 + k] -= factor[g] * own * pass.p.hidden[out + k0 + k];
      }
      grad_a[g] += product;
    }
}

// What a sum of slopes, as the kernels take them, is to be multiplied by, apart from a.
double slope_unit(const Problem& p, int g) {
  switch (p.kind) {
    case kInner: return 1.0;
    case kSigmoid: return p.tau[g];
    case kPeak: return 2.0 * p.tau[g];
    case kTanh: return -4.0 * p.tau[g];
    case kExponential: return -kLn2;
    case kClipped: return -p.tau[g];
    case kAbsolute: return -1.0;
    default: return 0.25 * p.tau[g];
  }
}

// The gradient of a distance's tau, from the sum that a kernel took and that of all gradients.
double of_cost(const Problem& p, int g, double sum, double all) {
  switch (p.kind) {
    case kTanh: return 2.0 * sum - all;
    case kExponential: return sum / (kLog2E * p.tau[g]) - all;
    default: return -sum;
  }
}

}  // namespace

int64_t backward(const Problem& p, const Isa& isa, int threads, const Backward& out) {
  const int G = p.groups, D = p.width;
  if (out.hidden) std::memset(out.hidden, 0, sizeof(float) * p.rows * D);
  Pass pass(p, isa, threads, true);
  if (!pass.arena.ok()) return 1;
  pass.set_up();
  const int64_t rows = pass.plan.block_rows;
  LogitGradients of_rows;
  of_rows.take(pass.arena, rows);
  float *word_scale = pass.arena.take(D), *factor = pass.arena.take(G);
  const bool peaks = pass.plan.peaks;
  const bool distance = pass.plan.distance;
  std::vector<double> slope(G);
  for (int g = 0; g < G; ++g) {
    slope[g] = slope_unit(p, g);
    factor[g] = (float)(slope[g] * p.a[g]);
    for (int d = g * (D / G); d < (g + 1) * (D / G); ++d)
      word_scale[d] = distance         ? -factor[g]
                      : pass.plan.bf16 ? factor[g]  // of rows that are not scaled
                                       : (float)(slope[g] / pass.inner_unit());
  }
  Job& job = pass.job;
  job.word_scale = word_scale;
  of_rows.give(job);
  job.grad_table = out.table;
  job.grad_bias = out.bias;
  job.want_words = out.table != nullptr;
  job.want_groups = pass.plan.groups && (out.tau || out.a || out.b);
  job.want_hidden = out.hidden || (job.want_groups && !peaks);
  job.first_block = true;
  for (auto& s : pass.slices) {
    pass.take_tiles(s, true);
    s.grad_hidden = pass.arena.take(rows * pass.plan.wide);
    if (peaks) s.row_own = pass.arena.take(rows * G);
    s.grad_tau = pass.arena.take<double>(G);
    s.grad_b = pass.arena.take<double>(G);
  }
  std::vector<double> tau(G, 0.0), a(G, 0.0), b(G, 0.0);
  double all = 0.0;
  while (pass.next_block([&](int64_t r) { return p.targets[r] != p.ignore && out.grad_nll[r] != 0.0f; })) {
    for (int n = 0; n < job.padded_rows; ++n) {
      const int64_t row = n < job.rows ? pass.index[n] : -1;
      of_rows.set(p, n, row, row < 0 ? 0.0f : out.grad_nll[row], out.lse_max, out.lse_log);
    }
    fork_join(pass.plan.threads, [&](int t) { pass.backward()(job, pass.slices[t]); });
    if (job.want_hidden) {
      std::vector<std::vector<double>> of_a(pass.plan.threads, std::vector<double>(G, 0.0));
      fork_join(pass.plan.threads, [&](int t) {
        const int first = (int)((int64_t)job.rows * t / pass.plan.threads);
        const int last = (int)((int64_t)job.rows * (t + 1) / pass.plan.threads);
        join_hidden(pass, factor, first, last, out.hidden, of_a[t].data());
      });
      for (const auto& part : of_a)
        for (int g = 0; g < G; ++g) a[g] += part[g];
    }
    for (const auto& s : pass.slices) {
      for (int g = 0; g < G; ++g) {
        tau[g] += s.grad_tau[g];
        b[g] += s.grad_b[g];
      }
      if (distance) all += *s.grad_sum;
    }
    job.first_block = false;
  }
  if (job.first_block) {  // nobody was asked
    if (out.table) std::memset(out.table, 0, sizeof(float) * p.words * D);
    if (out.bias) std::memset(out.bias, 0, sizeof(float) * p.words);
  }
  for (int g = 0; g < G && pass.plan.groups; ++g) {
    if (out.tau) out.tau[g] = (float)(distance ? of_cost(p, g, tau[g], all) : peaks ? -tau[g] : tau[g]);
    // of peaks, `b` has summed gradient * argument, and the argument is a times -|h - w|^2 log2 e; of distances it
    // is the words' share, and a |h - w| is a (h - w) times the sign that went into the gradients of both
    if (out.a && distance) out.a[g] = (float)(slope[g] * (a[g] - b[g]));
    else if (out.a) out.a[g] = (float)(peaks ? p.tau[g] * kLn2 / p.a[g] * b[g] : slope[g] * a[g]);
    if (out.b) out.b[g] = (float)(slope[g] * b[g]);
  }
  return 0;
}

}  // namespace seqstate
