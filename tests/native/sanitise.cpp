// The kernels under the compiler's sanitisers, against loops in double precision. Run by `make sanitise`.
//
// Buffers are exactly as long as the sizes say, so that a read or write beyond them is caught; working
// memory starts as NaN, so that a number read before it is written shows.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "driver.h"
#include "sanitise.h"

namespace {

struct Case {
  int kind;
  int64_t rows, words;
  int groups, group_width, threads;
  double smoothing, z_loss;
  bool bfloat16;
};

struct Data {
  Floats hidden, table, bias, tau, a, b, grad;
  std::vector<int64_t> targets;
};

Data draw(const Case& c, std::mt19937& random) {
  std::normal_distribution<float> normal;
  auto floats = [&](int64_t count, bool positive) {
    Floats out(count);
    for (float& x : out) x = positive ? 0.25f + std::fabs(normal(random)) : normal(random);
    return out;
  };
  const int64_t width = (int64_t)c.groups * c.group_width;
  Data d{floats(c.rows * width, false), floats(c.words * width, false), floats(c.words, false),
         floats(c.groups, true),        floats(c.groups, true),         floats(c.groups, false),
         floats(c.rows, false),         {}};
  for (int64_t r = 0; r < c.rows; ++r)
    d.targets.push_back(r % 5 == 4 ? -100 : (int64_t)(random() % c.words));
  return d;
}

void squash(int kind, double x, double* value, double* slope) {
  const double kept = std::clamp(x, -30.0, 30.0);
  const double inside = std::fabs(x) <= 30 ? 1 : 0;
  if (kind == seqstate::kSigmoid) {
    *value = 1 / (1 + std::exp(-kept));
    *slope = inside * *value * (1 - *value);
  } else if (kind == seqstate::kClampedLinear) {
    *value = std::clamp(x / 4 + 0.5, 0.0, 1.0);
    *slope = std::fabs(x) <= 2 ? 0.25 : 0;
  } else {
    *value = (1 + kept / (2 + std::fabs(kept))) / 2;
    *slope = inside / ((2 + std::fabs(kept)) * (2 + std::fabs(kept)));
  }
}

double square(double x) { return x * x; }

// D(x) of a distance, and minus its slope.
void cost(int kind, double x, double* value, double* slope) {
  *value = x;
  *slope = -1;
  if (kind == seqstate::kTanh) *value = std::tanh(x), *slope = -1 / square(std::cosh(x));
  if (kind == seqstate::kExponential) *value = 1 - std::exp(-x), *slope = -std::exp(-x);
  if (kind == seqstate::kClipped) *value = std::min(x, 1.0), *slope = x <= 1 ? -1 : 0;
}

struct Twin {
  std::vector<double> nll, hidden, table, bias, tau, a, b;
};

Twin twin(const Case& c, const Data& d) {
  const int K = c.group_width, G = c.groups, D = K * G;
  Twin t{std::vector<double>(c.rows), std::vector<double>(c.rows * D), std::vector<double>(c.words * D),
         std::vector<double>(c.words), std::vector<double>(G), std::vector<double>(G), std::vector<double>(G)};
  const bool inner = c.kind == seqstate::kInner, peak = c.kind == seqstate::kPeak;
  const bool apart = seqstate::is_distance(c.kind);  // one number a group
  std::vector<double> logit(c.words), dot(c.words * G), miss(c.words * G), slope(c.words * G);
  for (int64_t r = 0; r < c.rows; ++r) {
    if (d.targets[r] < 0) continue;
    double most = -INFINITY, sum = 0;
    for (int64_t v = 0; v < c.words; ++v) {
      logit[v] = d.bias[v];
      for (int g = 0; g < G; ++g) {
        double& product = dot[v * G + g];
        product = 0;
        for (int k = g * K; k < (g + 1) * K; ++k) product += (double)d.hidden[r * D + k] * d.table[v * D + k];
        if (inner) {
          logit[v] += d.a[0] * product;
        } else if (apart) {
          product = std::fabs(d.hidden[r * D + g] - (double)d.table[v * D + g]);
          cost(c.kind, d.a[g] * product, &miss[v * G + g], &slope[v * G + g]);
          logit[v] -= d.tau[g] * miss[v * G + g];
        } else if (peak) {  // "miss" is -exp(-a |h - w|^2), and `product` |h - w|^2
          product = 0;
          for (int k = g * K; k < (g + 1) * K; ++k) product += square(d.hidden[r * D + k] - (double)d.table[v * D + k]);
          miss[v * G + g] = slope[v * G + g] = -std::exp(-d.a[g] * product);
          logit[v] -= d.tau[g] * miss[v * G + g];
        } else {
          squash(c.kind, -(d.a[g] * product + d.b[g]), &miss[v * G + g], &slope[v * G + g]);
          logit[v] -= d.tau[g] * miss[v * G + g];
        }
      }
      most = std::max(most, logit[v]);
    }
    for (double x : logit) sum += std::exp(x - most);
    const double lse = most + std::log(sum);
    t.nll[r] = c.z_loss * lse * lse;
    for (int64_t v = 0; v < c.words; ++v) {
      const double wanted = c.smoothing / c.words + (v == d.targets[r] ? 1 - c.smoothing : 0);
      t.nll[r] += wanted * (lse - logit[v]);
      const double by = d.grad[r] * ((1 + 2 * c.z_loss * lse) * std::exp(logit[v] - lse) - wanted);
      t.bias[v] += by;
      for (int g = 0; g < G; ++g) {
        const int64_t at = v * G + g;
        const double of_inner = inner ? by : by * d.tau[g] * slope[at];
        if (!inner) t.tau[g] -= by * miss[at];
        t.a[g] += of_inner * dot[at];
        t.b[g] += of_inner;
        for (int k = g * K; k < (g + 1) * K; ++k) {
          if (peak || apart) {
            const double gap = d.hidden[r * D + k] - (double)d.table[v * D + k];
            const double along = of_inner * d.a[g] * (peak ? 2 * gap : (gap > 0) - (gap < 0));
            t.hidden[r * D + k] += along;
            t.table[v * D + k] -= along;
            continue;
          }
          t.hidden[r * D + k] += of_inner * d.a[inner ? 0 : g] * d.table[v * D + k];
          t.table[v * D + k] += of_inner * d.a[inner ? 0 : g] * d.hidden[r * D + k];
        }
      }
    }
  }
  return t;
}

// The bfloat16 next to x on the side of 0.
float short_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits &= 0xffff0000;
  std::memcpy(&x, &bits, 4);
  return x;
}

bool holds(const seqstate::Isa& isa, const Case& c, std::mt19937& random) {
  Data d = draw(c, random);
  if (c.kind == seqstate::kPeak)  // near enough for the peaks to be felt
    for (Floats* vectors : {&d.hidden, &d.table})
      for (float& x : *vectors) x /= 2 * std::sqrt((float)c.group_width);
  if (c.bfloat16)  // scores are exact then, gradients of logits are still rounded
    for (Floats* vectors : {&d.hidden, &d.table})
      for (float& x : *vectors) x = short_of(x);
  const bool bare = c.kind == seqstate::kInner || c.kind == seqstate::kAbsolute;  // no tau, no a
  if (c.kind == seqstate::kAbsolute) d.tau = d.a = Floats(c.groups, 1.0f);
  const Twin t = twin(c, d);
  const int D = c.groups * c.group_width;
  const bool inner = c.kind == seqstate::kInner;
  const seqstate::Problem p{c.kind,        c.rows,          c.words,     D,
                            inner ? 1 : c.groups, d.hidden.data(), d.table.data(), d.bias.data(),
                            d.tau.data(),  d.a.data(),      d.b.data(),  d.targets.data(),
                            -100,          c.smoothing,     c.z_loss,    0,
                            0,             c.bfloat16};
  Floats nll(c.rows), most(c.rows), rest(c.rows);
  Floats hidden(c.rows * D), table(c.words * D), bias(c.words), tau(c.groups), a(c.groups), b(c.groups);
  if (seqstate::forward(p, isa, c.threads, {nll.data(), most.data(), rest.data()}) != 0) return false;
  const seqstate::Backward out{d.grad.data(), most.data(), rest.data(), hidden.data(), table.data(),
                               bias.data(),   tau.data(),  a.data(),    b.data()};
  if (seqstate::backward(p, isa, c.threads, out) != 0) return false;
  std::vector<double> errors{distance(nll, t.nll), distance(bias, t.bias)};
  std::vector<double> of_products{distance(hidden, t.hidden), distance(table, t.table)};
  if (!bare) {
    errors.push_back(distance(tau, t.tau));
    of_products.push_back(distance(a, t.a));
    if (c.kind < seqstate::kPeak) errors.push_back(distance(b, t.b));
  }
  for (double error : of_products) errors.push_back(c.bfloat16 ? error / 128 : error);  // sums of rounded terms
  for (double error : errors)
    if (!(error < 1e-4)) {
      std::printf("%s kind %d R %lld V %lld G %d K %d threads %d%s: off by %g\n", isa.name, c.kind,
                  (long long)c.rows, (long long)c.words, c.groups, c.group_width, c.threads,
                  c.bfloat16 ? " bfloat16" : "", error);
      return false;
    }
  return true;
}

}  // namespace

int main() {
  seqstate::poison = true;
  const seqstate::Isa* isas[4];
  const int count = seqstate::available_isas(isas, 4);
  const int shapes[][4] = {{1, 1, 1, 1},  {1, 300, 2, 3},  {13, 1, 4, 2},  {61, 129, 8, 8}, {50, 97, 16, 1},
                           {97, 70, 3, 5}, {31, 200, 1, 64}, {20, 65, 2, 17}, {110, 140, 4, 4}, {7, 33, 5, 33}};
  std::mt19937 random(1);
  int done = 0, failed = 0;
  for (int i = 0; i < count; ++i)
    for (int kind = 0; kind <= seqstate::kAbsolute; ++kind)
      for (const auto& s : shapes)
        for (int threads = 1; threads <= 3; threads += 2)
          for (double smoothing : {0.0, 0.1}) {
            const bool apart = seqstate::is_distance(kind);
            const int groups = apart ? s[2] * s[3] : s[2], width = apart ? 1 : s[3];
            const Case c{kind, s[0], s[1], groups, width, threads, smoothing, smoothing / 10, false};
            failed += !holds(*isas[i], c, random);
            ++done;
          }
  for (int i = 0; i < count; ++i)
    failed += failed_codes(*isas[i], random, &done) + failed_slots(*isas[i], random, &done);
  failed += failed_heads(random, &done);
  for (int i = 0; i < count; ++i)
    for (int kind = 0; kind < seqstate::kPeak; ++kind)
      for (const auto& s : shapes)
        for (int threads = 1; threads <= 3; threads += 2, ++done)
          failed += !holds(*isas[i], {kind, s[0], s[1], s[2], s[3], threads, 0.1, 0.01, true}, random);
  for (int i = 0; i < count; ++i) failed += failed_shortlists(*isas[i], random, &done);
  failed += failed_mismatches(random, &done);
  std::printf("%d problems on %d instruction sets, %d failed\n", done, count, failed);
  return failed != 0;
}
