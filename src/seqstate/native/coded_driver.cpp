#include "coded_driver.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "coded_fixed.h"
#include "softmax.h"
#include "work.h"

namespace seqstate {

namespace {

struct CodedPlan {
  int threads, block_rows;
  int64_t floats;
};

CodedPlan make_plan(const CodedProblem& p, int threads, bool backward) {
  const int64_t entries = (int64_t)p.groups * p.codes;
  const int64_t tiles = (p.words + kCodedWords - 1) / kCodedWords;
  CodedPlan plan;
  plan.threads = (int)std::max<int64_t>(1, std::min<int64_t>(threads, tiles));
  const int64_t per_thread = backward ? entries : p.smoothing != 0.0 ? 3 : 2;
  const int64_t row_floats = entries + 8 + plan.threads * per_thread;
  const int64_t rows = std::max<int64_t>(kRowBytes / 4 / row_floats / kCodedRows, 1) * kCodedRows;
  plan.block_rows = (int)std::min<int64_t>(rows, round_up(p.rows, kCodedRows));
  plan.floats = plan.block_rows * row_floats + plan.threads * (int64_t)kCodedRows * kCodedWords + 16 * 8 +
                plan.threads * 16 * 4;
  return plan;
}

// What both passes share: the job, the memory, and the walk over blocks of rows.
struct CodedPass {
  const CodedProblem& p;
  CodedPlan plan;
  Arena arena;
  CodedJob job{};
  std::vector<CodedSlice> slices;
  std::vector<int64_t> index;  // the rows of the block
  float* packed = nullptr;
  int64_t* target = nullptr;
  int64_t next_row = 0;

  CodedPass(const CodedProblem& problem, int threads, bool backward)
      : p(problem), plan(make_plan(problem, threads, backward)), arena(plan.floats) {}

  int64_t entries() const { return (int64_t)p.groups * p.codes; }

  void set_up() {
    job.words = p.words;
    job.groups = p.groups;
    job.codes = p.codes;
    job.code = p.code;
    job.bias = p.bias;
    job.smoothing = p.smoothing != 0.0;
    job.packed = packed = arena.take(plan.block_rows * entries());
    job.target = target = arena.take<int64_t>(plan.block_rows);
    const int64_t tiles = (p.words + kCodedWords - 1) / kCodedWords;
    slices.resize(plan.threads);
    for (int t = 0; t < plan.threads; ++t) {
      CodedSlice& s = slices[t] = CodedSlice{};
      s.first_word = std::min<int64_t>(tiles * t / plan.threads * kCodedWords, p.words);
      s.last_word = std::min<int64_t>(tiles * (t + 1) / plan.threads * kCodedWords, p.words);
      s.logits = arena.take(kCodedRows * kCodedWords);
    }
  }

  // Collects the next rows for which `wanted(row)`; false when none is left.
  template <class Wanted>
  bool next_block(const Wanted& wanted) {
    index.clear();
    for (; next_row < p.rows && (int)index.size() < plan.block_rows; ++next_row)
      if (wanted(next_row)) index.push_back(next_row);
    if (index.empty()) return false;
    job.rows = (int)index.size();
    job.blocks = (job.rows + kCodedRows - 1) / kCodedRows;
    for (int n = 0; n < job.rows; ++n) target[n] = p.targets[index[n]];
    fork_join(std::min(plan.threads, job.blocks), [&](int t) {
      const int threads = std::min(plan.threads, job.blocks);
      for (int b = job.blocks * t / threads; b < job.blocks * (t + 1) / threads; ++b) pack_block(b);
    });
    return true;
  }

  void pack_block(int b) {
    float* to = packed + b * entries() * kCodedRows;
    for (int i = 0; i < kCodedRows; ++i) {
      const int n = b * kCodedRows + i;
      const float* from = n < job.rows ? p.tables + index[n] * entries() : nullptr;
      for (int64_t e = 0; e < entries(); ++e) to[e * kCodedRows + i] = from ? (float)kLog2E * from[e] : 0.0f;
    }
  }
};

// The threads' sums for a block of rows, back in the order of the tables.
void join_tables(const CodedPass& pass, int b, float* tables) {
  const int64_t entries = pass.entries();
  for (int i = 0; i < kCodedRows && b * kCodedRows + i < pass.job.rows; ++i) {
    float* to = tables + pass.index[b * kCodedRows + i] * entries;
    for (size_t t = 0; t < pass.slices.size(); ++t) {
      const float* from = pass.slices[t].grad_tables + b * entries * kCodedRows + i;
      for (int64_t e = 0; e < entries; ++e) to[e] = (t ? to[e] : 0.0f) + from[e * kCodedRows];
    }
  }
}

}  // namespace

int64_t coded_workspace_bytes(const CodedProblem& p, const Isa&, int threads, bool backward) {
  return 4 * make_plan(p, threads, backward).floats + 64;
}

int64_t coded_forward(const CodedProblem& p, const Isa& isa, int threads, const Forward& out) {
  for (int64_t r = 0; r < p.rows; ++r) {
    if (p.targets[r] != p.ignore && (p.targets[r] < 0 || p.targets[r] >= p.words)) return -1 - r;
    out.nll[r] = out.lse_max[r] = out.lse_log[r] = 0.0f;
  }
  CodedPass pass(p, threads, false);
  if (!pass.arena.ok()) return 1;
  pass.set_up();
  const int64_t rows = pass.plan.block_rows;
  float* target_logit = pass.arena.take(rows);
  pass.job.target_logit = target_logit;
  for (auto& s : pass.slices) {
    s.row_max = pass.arena.take(rows);
    s.row_sum = pass.arena.take(rows);
    if (pass.job.smoothing) s.row_total = pass.arena.take(rows);
  }
  while (pass.next_block([&](int64_t r) { return p.targets[r] != p.ignore; })) {
    fork_join(pass.plan.threads, [&](int t) { isa.coded_forward(pass.job, pass.slices[t]); });
    for (int n = 0; n < pass.job.rows; ++n) {
      RowScores row{pass.slices[0].row_max[n], target_logit[n], 0.0, 0.0};
      for (const auto& s : pass.slices) row.most = std::max(row.most, s.row_max[n]);
      for (const auto& s : pass.slices) {
        row.sum += std::exp2((double)s.row_max[n] - row.most) * s.row_sum[n];
        if (pass.job.smoothing) row.total += s.row_total[n];
      }
      softmax_loss(p, row, pass.index[n], out);
    }
  }
  return 0;
}

int64_t coded_backward(const CodedProblem& p, const Isa& isa, int threads, const CodedBackward& out) {
  if (out.tables) std::memset(out.tables, 0, sizeof(float) * p.rows * p.groups * p.codes);
  CodedPass pass(p, threads, true);
  if (!pass.arena.ok()) return 1;
  pass.set_up();
  LogitGradients of_rows;
  of_rows.take(pass.arena, pass.plan.block_rows);
  CodedJob& job = pass.job;
  of_rows.give(job);
  job.grad_bias = out.bias;
  job.want_tables = out.tables != nullptr;
  job.first_rows = true;
  if (job.want_tables)
    for (auto& s : pass.slices) s.grad_tables = pass.arena.take(pass.plan.block_rows * pass.entries());
  while (pass.next_block([&](int64_t r) { return p.targets[r] != p.ignore && out.grad_nll[r] != 0.0f; })) {
    for (int n = 0; n < job.blocks * kCodedRows; ++n) {
      const int64_t row = n < job.rows ? pass.index[n] : -1;
      of_rows.set(p, n, row, row < 0 ? 0.0 : out.grad_nll[row], out.lse_max, out.lse_log);
    }
    fork_join(pass.plan.threads, [&](int t) { isa.coded_backward(job, pass.slices[t]); });
    if (out.tables)
      fork_join(std::min(pass.plan.threads, job.blocks), [&](int t) {
        const int sharing = std::min(pass.plan.threads, job.blocks);
        for (int b = job.blocks * t / sharing; b < job.blocks * (t + 1) / sharing; ++b)
          join_tables(pass, b, out.tables);
      });
    job.first_rows = false;
  }
  if (job.first_rows && out.bias) std::memset(out.bias, 0, sizeof(float) * p.words);  // nobody was asked
  return 0;
}

int64_t scan_size(int64_t words, int groups) {
  return round_up(words, kScanWords) * (round_up(groups, kScanGroups) / kScanGroups);
}

void pack_scan(int64_t words, int groups, const uint8_t* code, uint32_t* packed) {
  const int64_t chunks = round_up(groups, kScanGroups) / kScanGroups;
  std::memset(packed, 0, sizeof(uint32_t) * scan_size(words, groups));
  for (int64_t v = 0; v < words; ++v)
    for (int g = 0; g < groups; ++g) {
      uint32_t& to = packed[(v / kScanWords * chunks + g / kScanGroups) * kScanWords + v % kScanWords];
      to |= (uint32_t)(code[v * groups + g] & 15) << (4 * (g % kScanGroups));
    }
}

namespace {

// One row of tables, from packed codes; the words that do not fill a block go through memory of their own.
void scan_row(const CodedProblem& p, const Isa& isa, const uint32_t* packed, const float* tables, float* out) {
  const int groups = (int)round_up(p.groups, kScanGroups);
  const int64_t whole = p.words / kScanWords * kScanWords, left = p.words - whole;
  isa.scan({whole, groups, packed, tables, p.bias, out});
  if (!left) return;
  float bias[kScanWords] = {}, logits[kScanWords];
  if (p.bias) std::memcpy(bias, p.bias + whole, sizeof(float) * left);
  isa.scan({kScanWords, groups, packed + scan_size(whole, groups), tables, bias, logits});
  std::memcpy(out + whole, logits, sizeof(float) * left);
}

void look_up_row(const CodedProblem& p, const float* tables, float* out) {
  const uint8_t* code = p.code;
  for (int64_t v = 0; v < p.words; ++v, code += p.groups) {
    float total = p.bias ? p.bias[v] : 0.0f;
    for (int g = 0; g < p.groups; ++g) total += tables[g * p.codes + code[g]];
    out[v] = total;
  }
}

}  // namespace

int64_t coded_logits(const CodedProblem& p, const Isa& isa, const uint32_t* packed, bool fixed, float* out) {
  const int groups = (int)round_up(p.groups, kScanGroups);
  Arena arena(groups * (int64_t)kScanCodes + fixed_bytes(groups) / 4 + 16);
  if (!arena.ok()) return 1;
  float* tables = arena.take(groups * (int64_t)kScanCodes);
  FixedTables in_fixed{tables, groups, arena.take<uint8_t>(fixed_bytes(groups)), 0.0f, 0.0f};
  if (packed) std::fill_n(tables, groups * kScanCodes, 0.0f);
  for (int64_t r = 0; r < p.rows; ++r, out += p.words) {
    const float* from = p.tables + r * p.groups * p.codes;
    if (!packed) {
      look_up_row(p, from, out);
      continue;
    }
    for (int g = 0; g < p.groups; ++g) {  // codes that no word has must not widen the range
      float* to = std::copy_n(from + g * p.codes, p.codes, tables + g * kScanCodes);
      std::fill(to, tables + (g + 1) * kScanCodes, from[g * p.codes]);
    }
    if (fixed && fix_tables(in_fixed))
      scan_fixed(in_fixed, p.words, packed, p.bias, out);
    else
      scan_row(p, isa, packed, tables, out);
  }
  return 0;
}

}  // namespace seqstate
