#include "driver.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace seqstate {

bool poison = false;

namespace {

constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
constexpr int64_t kRowBytes = 4 << 20;   // packed rows and their gradients, all threads together
constexpr int64_t kRowsWorthThreads = 1 << 17;  // numbers of a block that are worth packing in parallel
constexpr int64_t kTileBytes = 448 << 10;  // one thread's tiles stay in its second-level cache

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Everything about sizes that follows from the problem, the instruction set and the threads.
struct Plan {
  int threads, tile_rows, tile_words, block_rows, lanes, wide;
  bool groups, smoothing;
  int64_t slice_floats, shared_floats;
};

int64_t tile_floats(const Plan& plan, const Problem& p, bool backward) {
  const int64_t tile = (int64_t)plan.tile_rows * plan.tile_words;
  int64_t floats = (int64_t)plan.tile_words * (p.width + 2) + tile;
  if (backward) {
    floats += (int64_t)plan.tile_words * (p.width + plan.wide);
    if (plan.groups) floats += tile * (1 + 2 * (int64_t)p.groups);
  }
  return floats + 16 * 8;  // every part starts on a cache line
}

Plan make_plan(const Problem& p, const Isa& isa, int threads, bool backward) {
  Plan plan;
  plan.lanes = isa.lanes;
  plan.groups = p.kind != kInner;
  plan.smoothing = p.smoothing != 0.0;
  plan.wide = padded_group(p.width / p.groups, isa.lanes) * p.groups;
  plan.tile_rows = 2 * isa.row_multiple;
  plan.tile_words = std::max(128, isa.word_block);
  while (plan.tile_words > isa.word_block && plan.tile_words > 64 &&
         tile_floats(plan, p, backward) * 4 > kTileBytes)
    plan.tile_words /= 2;
  if (tile_floats(plan, p, backward) * 4 > kTileBytes) plan.tile_rows = isa.row_multiple;
  while (plan.tile_words > isa.word_block && tile_floats(plan, p, backward) * 4 > kTileBytes)
    plan.tile_words /= 2;
  const int64_t tiles = (p.words + plan.tile_words - 1) / plan.tile_words;
  plan.threads = (int)std::max<int64_t>(1, std::min<int64_t>(threads, tiles));
  const int64_t per_thread =
      backward ? plan.wide : 1 + plan.lanes * (plan.smoothing ? 2 : 1);
  const int64_t row_floats = p.width + 8 + plan.threads * per_thread;
  int64_t rows = std::max<int64_t>(kRowBytes / 4 / row_floats / plan.tile_rows, 1) * plan.tile_rows;
  plan.block_rows = (int)std::min<int64_t>(rows, round_up(p.rows, plan.tile_rows));
  plan.shared_floats = (int64_t)plan.block_rows * (p.width + 8) + p.width + 16 * 12 +
                       (4 + plan.block_rows / plan.tile_rows) * (int64_t)p.groups;
  plan.slice_floats = tile_floats(plan, p, backward) + plan.block_rows * per_thread + 5 * p.groups + 16 * 5;
  return plan;
}

// Hands out aligned pieces of one allocation.
class Arena {
 public:
  explicit Arena(int64_t floats) : size_(floats * 4 + 64), memory_(std::malloc(size_)) {
    next_ = reinterpret_cast<char*>(round_up(reinterpret_cast<int64_t>(memory_), 64));
    if (memory_ && poison) std::memset(memory_, 0xff, size_);  // all NaN
  }
  ~Arena() { std::free(memory_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  bool ok() const { return memory_ != nullptr; }
  template <class T = float>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += round_up(count * (int64_t)sizeof(T), 64);
    return piece;
  }

 private:
  int64_t size_;
  void* memory_;
  char* next_;
};

// Runs work(0) ... work(threads - 1); a thread that cannot be started is done by this one.
template <class Work>
void fork_join(int threads, const Work& work) {
  std::vector<std::thread> others;
  int started = 1;
  try {
    others.reserve(threads - 1);
    for (; started < threads; ++started) others.emplace_back(work, started);
  } catch (const std::exception&) {
  }
  for (int t = started; t < threads; ++t) work(t);
  work(0);
  for (auto& other : others) other.join();
}

// What both passes share: the job, the memory, and the walk over blocks of rows.
struct Pass {
  const Problem& p;
  const Isa& isa;
  Plan plan;
  Arena arena;
  Job job{};
  std::vector<Slice> slices;
  std::vector<int64_t> index;  // the rows of the block
  float *packed = nullptr, *row_scale = nullptr, *row_norm = nullptr;
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
    float *tau2 = arena.take(p.groups), *inner_b = arena.take(p.groups);
    row_scale = arena.take(p.groups);
    const double unit = inner_unit();
    for (int g = 0; g < p.groups; ++g) {
      row_scale[g] = (float)(unit * p.a[g]);
      tau2[g] = plan.groups ? (float)(kLog2E * p.tau[g]) : 0.0f;
      inner_b[g] = plan.groups ? (float)(unit * p.b[g]) : 0.0f;
    }
    job.tau2 = tau2;
    job.inner_b = inner_b;
    packed = arena.take((int64_t)plan.block_rows * p.width);
    target = arena.take<int64_t>(plan.block_rows);
    row_norm = arena.take((int64_t)plan.block_rows / plan.tile_rows * p.groups);
    job.packed = packed;
    job.row_norm = row_norm;
    job.target = target;
    index.reserve(plan.block_rows);
    share_words();
  }

  // dimension of the activation's own argument: z log2 e, z / 4, z / 2
  double inner_unit() const {
    return p.kind == kClampedLinear ? 0.25 : p.kind == kRational ? 0.5 : kLog2E;
  }

  void share_words() {
    const int64_t tiles = (p.words + plan.tile_words - 1) / plan.tile_words;
    slices.resize(plan.threads);
    for (int t = 0; t < plan.threads; ++t) {
      slices[t] = Slice{};
      slices[t].first_word = std::min<int64_t>(tiles * t / plan.threads * plan.tile_words, p.words);
      slices[t].last_word = std::min<int64_t>(tiles * (t + 1) / plan.threads * plan.tile_words, p.words);
    }
  }

  void take_tiles(Slice& s, bool backward) {
    const int64_t tile = (int64_t)plan.tile_rows * plan.tile_words;
    s.words_t = arena.take((int64_t)plan.tile_words * p.width);
    s.word_norm = arena.take(p.groups);
    s.bias = arena.take(plan.tile_words);
    s.logits = arena.take(tile);
    if (!backward) return;
    s.grad_words_t = arena.take((int64_t)plan.tile_words * p.width);
    s.words_p = arena.take((int64_t)plan.tile_words * plan.wide);
    s.grad_bias = arena.take(plan.tile_words);
    if (!plan.groups) return;
    s.inner_grad = arena.take(tile);
    s.stored = arena.take(2 * tile * p.groups);
  }

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

  // A register block of rows, scaled, and the longest of them in each group.
  void pack_block(int first, float* norm) {
    constexpr int kMost = 8;
    const int K = job.group_width, step = isa.row_block, real = std::min(step, job.rows - first);
    const float* from[kMost];
    for (int i = 0; i < real; ++i) {
      from[i] = p.hidden + index[first + i] * p.width;
      target[first + i] = p.targets[index[first + i]];
    }
    float* out = packed + (int64_t)first * p.width;
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
    }
  }
};

}  // namespace

int64_t workspace_bytes(const Problem& p, const Isa& isa, int threads, bool backward) {
  const Plan plan = make_plan(p, isa, threads, backward);
  return 4 * (plan.shared_floats + plan.threads * plan.slice_floats) + 64;
}

int64_t forward(const Problem& p, const Isa& isa, int threads, const Forward& out) {
  for (int64_t r = 0; r < p.rows; ++r) {
    if (p.targets[r] != p.ignore && (p.targets[r] < 0 || p.targets[r] >= p.words)) return -1 - r;
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
    fork_join(pass.plan.threads, [&](int t) { isa.forward(pass.job, pass.slices[t]); });
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
      const double rest = std::log2(sum);
      double nll = (1.0 - p.smoothing) * ((double)most - target_logit[n] + rest);
      if (pass.plan.smoothing) nll += p.smoothing * (most - total / p.words + rest);
      const double lse = kLn2 * (most + rest);
      const int64_t row = pass.index[n];
      out.nll[row] = (float)(kLn2 * nll + p.z_loss * lse * lse);
      out.lse_max[row] = most;
      out.lse_log[row] = (float)rest;
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
        if (grad_hidden)
          for (int k = 0; k < real; ++k) grad_hidden[out + k0 + k] = factor[g] * sum[k];
      }
      grad_a[g] += product;
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
  float *lse_max = pass.arena.take(rows), *lse_log = pass.arena.take(rows), *by_p = pass.arena.take(rows),
        *all = pass.arena.take(rows), *by_target = pass.arena.take(rows), *word_scale = pass.arena.take(D),
        *factor = pass.arena.take(G);
  const double slope = p.kind == kSigmoid || p.kind == kInner ? 1.0 : 0.25;
  for (int g = 0; g < G; ++g) {
    const double tau = pass.plan.groups ? p.tau[g] : 1.0;
    factor[g] = (float)(tau * slope * p.a[g]);
    for (int d = g * (D / G); d < (g + 1) * (D / G); ++d)
      word_scale[d] = (float)(tau * slope / pass.inner_unit());
  }
  Job& job = pass.job;
  job.word_scale = word_scale;
  job.lse_max = lse_max;
  job.lse_log = lse_log;
  job.grad_p = by_p;
  job.grad_all = all;
  job.grad_target = by_target;
  job.grad_table = out.table;
  job.grad_bias = out.bias;
  job.want_words = out.table != nullptr;
  job.want_groups = pass.plan.groups && (out.tau || out.a || out.b);
  job.want_hidden = out.hidden || job.want_groups;
  job.first_block = true;
  for (auto& s : pass.slices) {
    pass.take_tiles(s, true);
    s.grad_hidden = pass.arena.take(rows * pass.plan.wide);
    s.grad_tau = pass.arena.take<double>(G);
    s.grad_b = pass.arena.take<double>(G);
  }
  std::vector<double> tau(G, 0.0), a(G, 0.0), b(G, 0.0);
  while (pass.next_block([&](int64_t r) { return p.targets[r] != p.ignore && out.grad_nll[r] != 0.0f; })) {
    for (int n = 0; n < job.padded_rows; ++n) {
      const bool real = n < job.rows;
      const int64_t row = real ? pass.index[n] : 0;
      const double given = real ? out.grad_nll[row] : 0.0;
      lse_max[n] = real ? out.lse_max[row] : INFINITY;
      lse_log[n] = real ? out.lse_log[row] : 0.0f;
      by_p[n] = (float)(given * (1.0 + 2.0 * p.z_loss * kLn2 * ((double)lse_max[n] + lse_log[n])));
      if (!real) by_p[n] = 0.0f;
      all[n] = (float)(given * p.smoothing / p.words);
      by_target[n] = (float)(given * (1.0 - p.smoothing));
    }
    fork_join(pass.plan.threads, [&](int t) { isa.backward(job, pass.slices[t]); });
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
    for (const auto& s : pass.slices)
      for (int g = 0; g < G; ++g) {
        tau[g] += s.grad_tau[g];
        b[g] += s.grad_b[g];
      }
    job.first_block = false;
  }
  if (job.first_block) {  // nobody was asked
    if (out.table) std::memset(out.table, 0, sizeof(float) * p.words * D);
    if (out.bias) std::memset(out.bias, 0, sizeof(float) * p.words);
  }
  for (int g = 0; g < G && pass.plan.groups; ++g) {
    if (out.tau) out.tau[g] = (float)tau[g];
    if (out.a) out.a[g] = (float)(p.tau[g] * slope * a[g]);
    if (out.b) out.b[g] = (float)(p.tau[g] * slope * b[g]);
  }
  return 0;
}

namespace scalar { extern const Isa isa; }
#if defined(__x86_64__) && defined(__GNUC__)
namespace avx2 { extern const Isa isa; }
namespace avx512 { extern const Isa isa; }
#elif defined(__aarch64__)
namespace neon { extern const Isa isa; }
#endif

int available_isas(const Isa** found, int room) {
  int count = 0;
  auto offer = [&](const Isa& isa) {
    if (count < room) found[count++] = &isa;
  };
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool two = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (two && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    offer(avx512::isa);
  if (two) offer(avx2::isa);
#elif defined(__aarch64__)
  offer(neon::isa);
#endif
  offer(scalar::isa);
  return count;
}

}  // namespace seqstate
