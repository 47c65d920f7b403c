// What the forward and the backward pass share: the job, its memory, and the walk over blocks of rows.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "plan.h"
#include "work.h"

namespace seqstate {

// The bits of a bfloat16 that is held as a float.
inline uint32_t bits_of_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits >> 16;
}

constexpr int64_t kRowsWorthThreads = 1 << 17;  // numbers of a block that are worth packing in parallel

struct Pass {
  const Problem& p;
  const Isa& isa;
  Plan plan;
  Arena arena;
  Job job{};
  std::vector<Slice> slices;
  std::vector<int64_t> index;  // the rows of the block
  float *packed = nullptr, *row_scale = nullptr, *row_norm = nullptr, *row_offset = nullptr;
  uint32_t *pairs = nullptr, *row_pairs = nullptr;
  int64_t* target = nullptr;
  int64_t next_row = 0;

  Pass(const Problem& problem, const Isa& set, int threads, bool backward)
      : p(problem), isa(set), plan(make_plan(problem, set, threads, backward)),
        arena(plan.shared_floats + plan.threads * plan.slice_floats) {}

  void set_up() {
    job.kind = p.kind;
    job.words = p.words;
    job.width = p.width;
    job.groups = p.groups;
    job.group_width = p.width / p.groups;
    job.table = p.table;
    job.bias = p.bias;
    job.smoothing = plan.smoothing;
    job.tile_rows = plan.tile_rows;
    job.tile_words = plan.tile_words;
    job.word_step = plan.word_step;
    float *tau2 = arena.take(p.groups), *inner_b = arena.take(p.groups);
    float* sharpness = arena.take(p.groups);
    row_scale = arena.take(p.groups);
    const double unit = inner_unit();
    for (int g = 0; g < p.groups; ++g) {
      row_scale[g] = (float)(unit * p.a[g]);
      sharpness[g] = row_scale[g] / 2;
      tau2[g] = plan.groups ? (float)(tau_unit() * p.tau[g]) : 0.0f;
      inner_b[g] = plan.groups && !plan.peaks && !plan.distance ? (float)(unit * p.b[g]) : 0.0f;
      if (plan.powers) inner_b[g / kTogether * kTogether] -= (float)kLog2E * p.tau[g];
    }
    job.tau2 = tau2;
    job.inner_b = inner_b;
    job.row_scale = row_scale;
    job.sharpness = sharpness;
    packed = arena.take((int64_t)plan.block_rows * p.width);
    target = arena.take<int64_t>(plan.block_rows);
    row_norm = arena.take((int64_t)plan.block_rows / plan.tile_rows * p.groups);
    job.packed = packed;
    if (plan.row_pairs) row_pairs = arena.take<uint32_t>((int64_t)plan.block_rows * plan.row_pairs);
    job.row_pairs = row_pairs;
    if (plan.bf16) job.pairs = pairs = arena.take<uint32_t>((int64_t)plan.block_rows * plan.pairs);
    job.row_norm = row_norm;
    if (plan.peaks) job.row_offset = row_offset = arena.take((int64_t)plan.block_rows * p.groups);
    job.target = target;
    index.reserve(plan.block_rows);
    share_words();
  }

  // dimension of the activation's own argument: z log2 e, z / 4, z / 2; -a |h - w|^2 log2 e has twice <h, w>
  double inner_unit() const {
    if (p.kind == kPeak || p.kind == kTanh) return 2 * kLog2E;
    if (p.kind == kClipped) return 1;
    return p.kind == kClampedLinear ? 0.25 : p.kind == kRational ? 0.5 : kLog2E;
  }

  // A miss is taken from the logit, a peak is added to it; 1 - tanh is twice what the kernel finds.
  double tau_unit() const { return p.kind == kTanh ? 2 * kLog2E : plan.peaks ? -kLog2E : kLog2E; }

  void share_words() {
    const int64_t tiles = (p.words + plan.tile_words - 1) / plan.tile_words;
    slices.resize(plan.threads);
    for (int t = 0; t < plan.threads; ++t) {
      slices[t] = Slice{};
      slices[t].first_word = std::min<int64_t>(tiles * t / plan.threads * plan.tile_words, p.words);
      slices[t].last_word = std::min<int64_t>(tiles * (t + 1) / plan.threads * plan.tile_words, p.words);
    }
  }

  void take_sides(Slice& s, bool backward) {
    const int64_t plane = p.width * plan.word_step, rows = (int64_t)plan.tile_rows * p.width;
    s.words_t = arena.take(plane);
    s.bias = arena.take(plan.tile_words);
    s.logits = arena.take((int64_t)plan.tile_rows * plan.tile_words);
    if (plan.powers) {
      s.words_c = arena.take(plane);
      s.words_e = arena.take(plane);
      s.row_c = arena.take(rows);
      s.row_e = arena.take(rows);
    }
    if (!backward) return;
    s.grad_words_t = arena.take(plane);
    s.grad_bias = arena.take(plan.tile_words);
    s.row_part = arena.take((int64_t)p.width * isa.row_block * isa.lanes);
    s.tau_sum = arena.take((int64_t)p.width * isa.lanes);
    s.grad_sum = arena.take<double>(1);
  }

  void take_tiles(Slice& s, bool backward) {
    if (plan.distance) return take_sides(s, backward);
    const int64_t tile = (int64_t)plan.tile_rows * plan.tile_words;
    s.words_t = arena.take((int64_t)plan.tile_words * p.width);
    if (plan.bf16) s.words_b = arena.take<uint32_t>((int64_t)plan.tile_words * plan.pairs);
    s.word_norm = arena.take(p.groups);
    s.bias = arena.take(plan.tile_words);
    s.logits = arena.take(tile);
    if (plan.peaks) s.word_offset = arena.take((int64_t)plan.tile_words * p.groups);
    if (!backward) return;
    s.grad_words_t = arena.take((int64_t)plan.tile_words * p.width);
    s.words_p = arena.take((int64_t)plan.tile_words * plan.wide);
    s.grad_bias = arena.take(plan.tile_words);
    if (plan.groups || plan.bf16) s.inner_grad = arena.take(tile);
    if (!plan.groups) return;
    if (plan.peaks) {
      s.word_sum = arena.take((int64_t)plan.tile_words * p.groups);
      s.row_part = arena.take((int64_t)plan.tile_rows * plan.lanes);
    }
    s.stored = arena.take(2 * tile * p.groups);
  }

  auto forward() const { return plan.bf16 ? plan.bf16->forward : isa.forward; }
  auto backward() const { return plan.bf16 ? plan.bf16->backward : isa.backward; }

  // Collects the next rows for which `wanted(row)`; false when none is left.
  template <class Wanted>
  bool next_block(const Wanted& wanted) {
    index.clear();
    for (; next_row < p.rows && (int)index.size() < plan.block_rows; ++next_row)
      if (wanted(next_row)) index.push_back(next_row);
    if (index.empty()) return false;
    job.rows = (int)index.size();
    job.padded_rows = (int)round_up(job.rows, isa.row_block);
    pack_rows();
    return true;
  }

  void pack_rows() {
    const int tiles = (job.rows + plan.tile_rows - 1) / plan.tile_rows;
    const int threads = (int64_t)job.rows * p.width < kRowsWorthThreads ? 1 : std::min(plan.threads, tiles);
    fork_join(threads, [&](int t) {
      for (int tile = tiles * t / threads; tile < tiles * (t + 1) / threads; ++tile) {
        float* norm = row_norm + (int64_t)tile * p.groups;
        std::fill_n(norm, p.groups, 0.0f);
        const int last = std::min((tile + 1) * plan.tile_rows, job.padded_rows);
        for (int n = tile * plan.tile_rows; n < last; n += isa.row_block) pack_block(n, norm);
      }
    });
  }

  // What a row's own length adds to the inner argument of a peak.
  float own_length(const float* row, int g) const {
    double square = 0.0;
    for (int k = 0; row && k < job.group_width; ++k) square += (double)row[k] * row[k];
    return (float)(-kLog2E * p.a[g] * square);
  }

  // A register block of rows as pairs of bfloat16, along their dimensions and for the gradients across rows.
  void pack_pairs(int first, const float* const* from, int real) {
    const int K = job.group_width, step = isa.row_block;
    uint32_t* out = pairs + (int64_t)first * plan.pairs;
    for (int g = 0; g < p.groups; ++g)
      for (int k = 0; k < K; k += 2, out += step)
        for (int i = 0; i < step; ++i) {
          const float* at = i < real ? from[i] + g * K + k : nullptr;
          out[i] = at ? bits_of_bfloat16(at[0]) | (k + 1 < K ? bits_of_bfloat16(at[1]) << 16 : 0) : 0;
        }
    if (!plan.row_pairs) return;
    out = row_pairs + (int64_t)first / 2 * p.width;
    for (int d = 0; d < p.width; ++d)
      for (int i = 0; i < step; i += 2) {
        const uint32_t lower = i < real ? bits_of_bfloat16(from[i][d]) : 0;
        *out++ = lower | (i + 1 < real ? bits_of_bfloat16(from[i + 1][d]) << 16 : 0);
      }
  }

  // A register block of rows, scaled, and the longest of them in each group.
  void pack_block(int first, float* norm) {
    constexpr int kMost = 8;
    const int K = job.group_width, step = isa.row_block, real = std::min(step, job.rows - first);
    const float* from[kMost];
    for (int i = 0; i < real; ++i) {
      from[i] = p.hidden + index[first + i] * p.width;
      target[first + i] = p.targets[index[first + i]] - p.first;
    }
    float* out = packed + (int64_t)first * p.width;
    if (plan.bf16) pack_pairs(first, from, real);
    for (int g = 0; g < p.groups; ++g) {
      float square[kMost] = {};
      for (int d = g * K; d < (g + 1) * K; ++d, out += step)
        for (int i = 0; i < step; ++i) {
          out[i] = i < real ? row_scale[g] * from[i][d] : 0.0f;
          square[i] += out[i] * out[i];
        }
      for (int i = 0; i < real; ++i) {
        const float length = std::sqrt(square[i]);
        if (!(length <= norm[g])) norm[g] = length;  // a NaN stays: nothing is within its limit
      }
      if (plan.peaks)
        for (int i = 0; i < step; ++i) row_offset[((int64_t)first / step * p.groups + g) * step + i] = own_length(i < real ? from[i] + g * K : nullptr, g);
    }
  }
};

}  // namespace seqstate
