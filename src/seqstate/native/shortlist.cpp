#include "shortlist.h"

#include <math.h>

#include <algorithm>
#include <limits>

#include "work.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace seqstate {

namespace {

constexpr double kRounding = 1.0 / (1 << 23);  // twice float32's, for each of a sum's terms
constexpr double kMissRounding = 2e-6;         // of a miss and its product with tau, float32
constexpr float kMost = 32512.0f;              // of a number in 16 bits: 127 * 256

// A row in 16 bits.
struct Halves {
  std::vector<int8_t> high, low;      // [groups * quads][4]
  std::vector<double> from_128;       // groups: what the words' offset of 128 adds to a product
};

using Products = void (*)(const ShortWords&, const Halves&, const uint8_t* numbers, float* products);

void products_portable(const ShortWords& w, const Halves& row, const uint8_t* numbers, float* products) {
  const int8_t *high = row.high.data(), *low = row.low.data();
  for (int g = 0; g < w.groups; ++g, products += kShortWords) {
    int32_t above[kShortWords] = {}, below[kShortWords] = {};
    for (int q = 0; q < w.quads; ++q, numbers += kShortWords * kQuad, high += kQuad, low += kQuad)
      for (int i = 0; i < kShortWords; ++i)
        for (int c = 0; c < kQuad; ++c) {
          above[i] += numbers[i * kQuad + c] * high[c];
          below[i] += numbers[i * kQuad + c] * low[c];
        }
    for (int i = 0; i < kShortWords; ++i)
      products[i] = (float)(256.0 * above[i] + below[i] - row.from_128[g]);
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")))

TARGET void products_vnni(const ShortWords& w, const Halves& row, const uint8_t* numbers, float* products) {
  const int8_t *high = row.high.data(), *low = row.low.data();
  for (int g = 0; g < w.groups; ++g, products += kShortWords) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    for (int q = 0; q < w.quads; ++q, numbers += kShortWords * kQuad, high += kQuad, low += kQuad) {
      int32_t four;
      std::memcpy(&four, high, 4);
      const __m512i above = _mm512_set1_epi32(four);
      std::memcpy(&four, low, 4);
      const __m512i below = _mm512_set1_epi32(four);
      const __m512i w0 = _mm512_loadu_si512(numbers), w1 = _mm512_loadu_si512(numbers + 64);
      const __m512i w2 = _mm512_loadu_si512(numbers + 128), w3 = _mm512_loadu_si512(numbers + 192);
      a0 = _mm512_dpbusd_epi32(a0, w0, above);
      a1 = _mm512_dpbusd_epi32(a1, w1, above);
      a2 = _mm512_dpbusd_epi32(a2, w2, above);
      a3 = _mm512_dpbusd_epi32(a3, w3, above);
      b0 = _mm512_dpbusd_epi32(b0, w0, below);
      b1 = _mm512_dpbusd_epi32(b1, w1, below);
      b2 = _mm512_dpbusd_epi32(b2, w2, below);
      b3 = _mm512_dpbusd_epi32(b3, w3, below);
    }
    const __m512d by = _mm512_set1_pd(256.0), from_128 = _mm512_set1_pd(row.from_128[g]);
    const __m512i above[4] = {a0, a1, a2, a3}, below[4] = {b0, b1, b2, b3};
    for (int i = 0; i < 4; ++i)
      for (int half = 0; half < 2; ++half) {
        const __m256i x = half ? _mm512_extracti64x4_epi64(above[i], 1) : _mm512_castsi512_si256(above[i]);
        const __m256i y = half ? _mm512_extracti64x4_epi64(below[i], 1) : _mm512_castsi512_si256(below[i]);
        const __m512d rest = _mm512_sub_pd(_mm512_cvtepi32_pd(y), from_128);
        const __m512d sum = _mm512_fmadd_pd(_mm512_cvtepi32_pd(x), by, rest);
        _mm256_storeu_ps(products + 16 * i + 8 * half, _mm512_cvtpd_ps(sum));
      }
  }
}

Products products_here() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
             ? products_vnni
             : products_portable;
}
#else
Products products_here() { return products_portable; }
#endif

// What may still lead: words with their bounds, cut down whenever there are many.
class Candidates {
 public:
  explicit Candidates(int64_t k) : k_(k), cut_at_(std::max<int64_t>(4 * k, 1024)) {}

  float least() const { return least_; }

  void add(int64_t word, float upper, float lower) {
    words_.push_back(word);
    upper_.push_back(upper);
    lower_.push_back(lower);
    if ((int64_t)words_.size() >= cut_at_) {
      cut();
      cut_at_ = std::max<int64_t>(cut_at_, 2 * words_.size());  // bounds that cut nothing are not tried again and again
    }
  }

  // Drops what the k-th largest lower bound rules out.
  void cut() {
    if ((int64_t)words_.size() < k_) return;
    sorted_ = lower_;
    std::nth_element(sorted_.begin(), sorted_.begin() + (k_ - 1), sorted_.end(), [](float x, float y) { return x > y; });
    least_ = std::max(least_, sorted_[k_ - 1]);
    size_t kept = 0;
    for (size_t i = 0; i < words_.size(); ++i)
      if (upper_[i] >= least_) {
        words_[kept] = words_[i];
        upper_[kept] = upper_[i];
        lower_[kept++] = lower_[i];
      }
    words_.resize(kept);
    upper_.resize(kept);
    lower_.resize(kept);
  }

  std::vector<int64_t> take() {
    cut();
    return std::move(words_);
  }

 private:
  int64_t k_, cut_at_;
  float least_ = -std::numeric_limits<float>::infinity();
  std::vector<int64_t> words_;
  std::vector<float> upper_, lower_, sorted_;
};

// A row as it is scanned: its halves, what its products become, and how far they may be off.
struct Asked {
  Halves halves;
  std::vector<float> factor, offset;
  ShortRow row{};

  bool set(const ShortWords& w, const ShortEnergy& e, int width, const float* numbers) {
    float most = 0.0f;
    for (int d = 0; d < width; ++d) {
      if (!std::isfinite(numbers[d])) return false;
      most = std::max(most, std::fabs(numbers[d]));
    }
    const float unit = most > 0.0f ? most / kMost : 1.0f;
    const int group_width = width / w.groups, padded = w.quads * kQuad;
    halves.high.assign((size_t)w.groups * padded, 0);
    halves.low.assign((size_t)w.groups * padded, 0);
    halves.from_128.assign(w.groups, 0.0);
    factor.assign(w.groups, 1.0f);
    offset.assign(w.groups, 0.0f);
    double square = 0.0, square_left = 0.0, cost = 0.0;
    for (int g = 0; g < w.groups; ++g) {
      double length = 0.0, left = 0.0, steepest = 1.0;
      int64_t sum = 0;
      for (int j = 0; j < group_width; ++j) {
        const float x = numbers[g * group_width + j];
        const int whole = (int)std::lrint(std::min(std::max(x / unit, -kMost), kMost));
        const int high = (whole + 128) >> 8;
        halves.high[g * padded + j] = (int8_t)high;
        halves.low[g * padded + j] = (int8_t)(whole - 256 * high);
        sum += whole;
        length += (double)x * x;
        const double rest = x - (double)unit * whole;
        left += rest * rest;
      }
      halves.from_128[g] = 128.0 * sum;
      if (e.kind != kInner) {
        const double step = e.kind == kSigmoid ? kLog2E : e.kind == kClampedLinear ? 0.25 : 0.5;
        factor[g] = (float)(e.a[g] * step * unit);
        offset[g] = (float)(e.b[g] * step);
        steepest = std::fabs((double)e.tau[g] * e.a[g]) / 4;  // of all three misses
        cost += std::fabs((double)e.tau[g]) * (1 + std::fabs((double)e.b[g]));
      } else {
        factor[g] = unit;
      }
      square += steepest * steepest * length;
      square_left += steepest * steepest * left;
    }
    const double terms = width + 16.0, size = std::sqrt(square);
    row.kind = e.kind;
    row.groups = w.groups;
    row.tau = e.tau;
    row.factor = factor.data();
    row.offset = offset.data();
    row.by_error = (float)(size * (1 + 1e-6));
    row.by_length = (float)(terms * kRounding * size + std::sqrt(square_left) * (1 + 1e-6));
    row.always = (float)((kMissRounding + w.groups * kRounding) * cost + 4 * kRounding * w.most_bias);
    row.scale = w.scale;
    row.error = w.error;
    row.length = w.length;
    row.bias = w.bias;
    return true;
  }
};

}  // namespace

bool shortlists(const ShortWords& w, const ShortEnergy& e, const Isa& isa, int64_t rows, int width, const float* row,
                int64_t k, std::vector<std::vector<int64_t>>& found) {
  static const Products products_of = products_here();
  std::vector<Asked> asked(rows);
  for (int64_t r = 0; r < rows; ++r)
    if (!asked[r].set(w, e, width, row + r * width)) return false;
  std::vector<float> ones(w.groups, 1.0f);
  if (e.kind == kInner)
    for (auto& one : asked) one.row.tau = ones.data();
  std::vector<Candidates> candidates(rows, Candidates(std::min(k, w.words)));
  std::vector<float> products((size_t)w.groups * kShortWords);
  float upper[kShortWords], lower[kShortWords];
  const int64_t block = (int64_t)w.groups * w.quads * kQuad * kShortWords;
  for (int64_t first = 0; first < w.words; first += kShortWords) {
    const uint8_t* numbers = w.numbers + first / kShortWords * block;
    const int count = (int)std::min<int64_t>(kShortWords, w.words - first);
    for (int64_t r = 0; r < rows; ++r) {
      products_of(w, asked[r].halves, numbers, products.data());
      Candidates& of_row = candidates[r];
      if (isa.bounds(asked[r].row, products.data(), first, upper, lower) < of_row.least()) continue;
      for (int i = 0; i < count; ++i)
        if (upper[i] >= of_row.least()) of_row.add(first + i, upper[i], lower[i]);
    }
  }
  found.resize(rows);
  for (int64_t r = 0; r < rows; ++r) found[r] = candidates[r].take();
  return true;
}

}  // namespace seqstate
