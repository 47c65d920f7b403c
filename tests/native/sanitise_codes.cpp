// Words that are codes: losses, gradients and scans, against loops in double precision.
#include <cstdio>

#include "coded_driver.h"
#include "coded_fixed.h"
#include "sanitise.h"

namespace {

struct Case {
  int64_t rows, words;
  int groups, codes, threads;
  double smoothing;
};

bool holds(const seqstate::Isa& isa, const Case& c, std::mt19937& random) {
  const int64_t entries = (int64_t)c.groups * c.codes;
  const Floats tables = normal_floats(c.rows * entries, random), bias = normal_floats(c.words, random);
  const Floats grad = normal_floats(c.rows, random);
  std::vector<uint8_t> code(c.words * c.groups);
  for (auto& one : code) one = (uint8_t)(random() % c.codes);
  std::vector<int64_t> targets;
  for (int64_t r = 0; r < c.rows; ++r) targets.push_back(r % 5 == 4 ? -100 : (int64_t)(random() % c.words));
  const double z_loss = c.smoothing / 10;

  std::vector<double> nll(c.rows), to_tables(c.rows * entries), to_bias(c.words), logits(c.rows * c.words);
  for (int64_t r = 0; r < c.rows; ++r) {
    double* logit = logits.data() + r * c.words;
    double sum = 0;
    for (int64_t v = 0; v < c.words; ++v) {
      logit[v] = bias[v];
      for (int g = 0; g < c.groups; ++g) logit[v] += tables[r * entries + g * c.codes + code[v * c.groups + g]];
      sum += std::exp(logit[v]);
    }
    if (targets[r] < 0) continue;
    const double lse = std::log(sum);
    nll[r] = z_loss * lse * lse;
    for (int64_t v = 0; v < c.words; ++v) {
      const double wanted = c.smoothing / c.words + (v == targets[r] ? 1 - c.smoothing : 0);
      nll[r] += wanted * (lse - logit[v]);
      const double by = grad[r] * ((1 + 2 * z_loss * lse) * std::exp(logit[v] - lse) - wanted);
      to_bias[v] += by;
      for (int g = 0; g < c.groups; ++g) to_tables[r * entries + g * c.codes + code[v * c.groups + g]] += by;
    }
  }

  const seqstate::CodedProblem p{c.rows,      c.words,     c.groups,       c.codes, tables.data(), code.data(),
                                 bias.data(), targets.data(), -100, c.smoothing, z_loss};
  Floats found(c.rows), most(c.rows), rest(c.rows), of_tables(c.rows * entries), of_bias(c.words);
  if (seqstate::coded_forward(p, isa, c.threads, {found.data(), most.data(), rest.data()}) != 0) return false;
  if (seqstate::coded_backward(p, isa, c.threads,
                               {grad.data(), most.data(), rest.data(), of_tables.data(), of_bias.data()}) != 0)
    return false;
  std::vector<double> errors{distance(found, nll), distance(of_tables, to_tables), distance(of_bias, to_bias)};
  Floats scores(c.rows * c.words);
  if (seqstate::coded_logits(p, isa, nullptr, false, scores.data()) != 0) return false;
  errors.push_back(distance(scores, logits));
  if (c.codes <= seqstate::kScanCodes) {
    std::vector<uint32_t> packed(seqstate::scan_size(c.words, c.groups));
    seqstate::pack_scan(c.words, c.groups, code.data(), packed.data());
    for (int fixed = 0; fixed <= seqstate::can_scan_fixed(); ++fixed) {
      std::fill(scores.begin(), scores.end(), NAN);
      if (seqstate::coded_logits(p, isa, packed.data(), fixed, scores.data()) != 0) return false;
      errors.push_back(distance(scores, logits));
    }
  }
  for (double error : errors)
    if (!(error < 1e-4)) {
      std::printf("%s codes R %lld V %lld G %d C %d threads %d: off by %g\n", isa.name, (long long)c.rows,
                  (long long)c.words, c.groups, c.codes, c.threads, error);
      return false;
    }
  return true;
}

}  // namespace

int failed_codes(const seqstate::Isa& isa, std::mt19937& random, int* done) {
  const int shapes[][4] = {{1, 1, 1, 1},   {1, 300, 2, 3},   {13, 1, 4, 2},   {61, 129, 8, 16},
                           {33, 97, 9, 5}, {40, 70, 3, 256}, {31, 200, 17, 33}};
  int failed = 0;
  for (const auto& s : shapes)
    for (int threads = 1; threads <= 3; threads += 2)
      for (double smoothing : {0.0, 0.1}) {
        failed += !holds(isa, {s[0], s[1], s[2], s[3], threads, smoothing}, random);
        ++*done;
      }
  return failed;
}
