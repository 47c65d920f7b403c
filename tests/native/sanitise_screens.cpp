// Words that may lead, and words with few mismatches, against loops over all of them.
#include <cstdio>
#include <cstring>

#include "mismatches.h"
#include "sanitise.h"
#include "shortlist.h"

namespace {

using seqstate::kQuad;
using seqstate::kShortWords;

struct Case {
  int kind;
  int64_t rows, words, k;
  int groups, group_width;
};

double missed(int kind, double z) {
  const double kept = std::clamp(z, -30.0, 30.0);
  if (kind == seqstate::kSigmoid) return 1 / (1 + std::exp(kept));
  if (kind == seqstate::kClampedLinear) return std::clamp(0.5 - z / 4, 0.0, 1.0);
  return 0.5 - kept / (2 * (2 + std::fabs(kept)));
}

bool leaders_stay(const seqstate::Isa& isa, const Case& c, std::mt19937& random) {
  const int width = c.groups * c.group_width, quads = (c.group_width + kQuad - 1) / kQuad;
  const int64_t padded = (c.words + kShortWords - 1) / kShortWords * kShortWords;
  const Floats rows = normal_floats(c.rows * width, random), table = normal_floats(c.words * width, random);
  const Floats tau = normal_floats(c.groups, random), a = normal_floats(c.groups, random), b = normal_floats(c.groups, random);
  Floats scale(padded), error(padded), length(padded), bias(padded);
  std::vector<uint8_t> numbers(padded * c.groups * quads * kQuad, 128);
  float most_bias = 0;
  for (int64_t v = 0; v < c.words; ++v) {
    const float* word = table.data() + v * width;
    float most = 1e-20f;
    for (int d = 0; d < width; ++d) most = std::max(most, std::fabs(word[d]));
    scale[v] = most / 127;
    double left = 0, square = 0;
    for (int d = 0; d < width; ++d) {
      const int whole = (int)std::lrint(word[d] / scale[v]);
      const int at = d / c.group_width * quads * kQuad + d % c.group_width;
      const int64_t quad = v / kShortWords * c.groups * quads + at / kQuad;
      numbers[(quad * kShortWords + v % kShortWords) * kQuad + at % kQuad] = (uint8_t)(whole + 128);
      left += std::pow(word[d] - (double)scale[v] * whole, 2);
      square += std::pow((double)word[d], 2);
    }
    error[v] = (float)(std::sqrt(left) * (1 + 1e-6));
    length[v] = (float)((std::sqrt(square) + std::sqrt(left)) * (1 + 1e-6));
    bias[v] = (float)(random() % 100) / 50;
    most_bias = std::max(most_bias, bias[v]);
  }
  const seqstate::ShortWords words{c.words,      c.groups,      quads,       numbers.data(), scale.data(),
                                   error.data(), length.data(), bias.data(), most_bias};
  const seqstate::ShortEnergy energy{c.kind, tau.data(), a.data(), b.data()};
  std::vector<std::vector<int64_t>> found;
  if (!seqstate::shortlists(words, energy, isa, c.rows, width, rows.data(), c.k, found)) return false;
  for (int64_t r = 0; r < c.rows; ++r) {
    std::vector<double> logits(c.words);
    for (int64_t v = 0; v < c.words; ++v) {
      logits[v] = bias[v];
      for (int g = 0; g < c.groups; ++g) {
        double product = 0;
        for (int j = 0; j < c.group_width; ++j)
          product += (double)rows[r * width + g * c.group_width + j] * table[v * width + g * c.group_width + j];
        logits[v] += c.kind == seqstate::kInner ? product : -tau[g] * missed(c.kind, a[g] * product + b[g]);
      }
    }
    std::vector<double> sorted = logits;
    const int64_t k = std::min(c.k, c.words);
    std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<double>());
    for (int64_t v = 0; v < c.words; ++v)
      if (logits[v] >= sorted[k - 1] && !std::binary_search(found[r].begin(), found[r].end(), v)) {
        std::printf("%s shortlist kind %d V %lld G %d K %d: word %lld is lost\n", isa.name, c.kind, (long long)c.words,
                    c.groups, c.group_width, (long long)v);
        return false;
      }
  }
  return true;
}

bool mismatches_are_counted(int64_t words, int chunks, std::mt19937& random) {
  const int64_t rows = 3;
  std::vector<uint64_t> codes(words * chunks), bits(rows * chunks), counted(rows * chunks);
  for (auto* all : {&codes, &bits, &counted})
    for (uint64_t& one : *all) one = ((uint64_t)random() << 32) | random();
  const std::vector<int64_t> most{0, 16 * chunks, 65 * chunks};
  std::vector<std::vector<int64_t>> found;
  seqstate::few_mismatches(words, chunks, codes.data(), rows, bits.data(), counted.data(), most.data(), found);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<int64_t> wanted;
    for (int64_t v = 0; v < words; ++v) {
      int64_t missed = 0;
      for (int c = 0; c < chunks; ++c)
        for (uint64_t x = (codes[c * words + v] ^ bits[r * chunks + c]) & counted[r * chunks + c]; x; x &= x - 1) ++missed;
      if (missed < most[r]) wanted.push_back(v);
    }
    if (found[r] != wanted) {
      std::printf("mismatches V %lld chunks %d: other words\n", (long long)words, chunks);
      return false;
    }
  }
  return true;
}

}  // namespace

int failed_shortlists(const seqstate::Isa& isa, std::mt19937& random, int* done) {
  const int64_t shapes[][4] = {{1, 1, 1, 1}, {3, 63, 1, 4}, {2, 200, 3, 5}, {2, 1500, 4, 8}, {1, 70, 1, 129}};
  int failed = 0;
  for (int kind : {seqstate::kInner, seqstate::kSigmoid, seqstate::kClampedLinear, seqstate::kRational})
    for (const auto& s : shapes)
      for (int64_t k : {1, 10, 4000}) {
        const int groups = kind == seqstate::kInner ? 1 : (int)s[2], width = kind == seqstate::kInner ? (int)(s[2] * s[3]) : (int)s[3];
        failed += !leaders_stay(isa, {kind, s[0], s[1], k, groups, width}, random);
        ++*done;
      }
  return failed;
}

int failed_mismatches(std::mt19937& random, int* done) {
  int failed = 0;
  for (int64_t words : {1, 511, 513, 2000})
    for (int chunks = 1; chunks <= 3; ++chunks, ++*done) failed += !mismatches_are_counted(words, chunks, random);
  return failed;
}
