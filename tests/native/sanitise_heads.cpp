// Cutting attention heads, forwards and back, against loops in double precision.
#include <cstdio>

#include "heads.h"
#include "sanitise.h"

namespace {

struct Case {
  int heads, shared, width;
  bool unit, gain, turn;
};

constexpr int64_t kBatch = 2, kTime = 3;
constexpr double kEpsilon = 1e-6;

// One vector of K numbers: normalised, scaled and turned; and its gradient back.
struct Vector {
  std::vector<double> x;
  double gain;
  const float* turn;
  bool unit;

  double factor() const {
    if (!unit) return 1;
    double square = 0;
    for (double one : x) square += one * one;
    return 1 / std::sqrt(square / x.size() + kEpsilon);
  }

  std::vector<double> turned(const std::vector<double>& from, double sign) const {
    std::vector<double> out = from;
    for (size_t i = 0; turn && i + 1 < from.size(); i += 2) {
      out[i] = from[i] * turn[i] - sign * from[i + 1] * turn[i + 1];
      out[i + 1] = sign * from[i] * turn[i + 1] + from[i + 1] * turn[i];
    }
    return out;
  }

  std::vector<double> value() const {
    std::vector<double> y = x;
    for (double& one : y) one *= factor() * gain;
    return turned(y, 1);
  }

  std::vector<double> gradient(const std::vector<double>& of_value, double* of_gain) const {
    std::vector<double> grad = turned(of_value, -1);
    double along = 0;
    for (size_t i = 0; i < x.size(); ++i) along += grad[i] * x[i] * factor();
    *of_gain += along * gain;  // <gradient, query>
    for (size_t i = 0; unit && i < x.size(); ++i)
      grad[i] = gain * factor() * (grad[i] - along / x.size() * x[i] * factor());
    return grad;
  }
};

bool holds(const Case& c, std::mt19937& random) {
  const int aimed = c.heads + c.shared, all = aimed + c.shared, K = c.width;
  const Floats projected = normal_floats(kBatch * kTime * all * K, random);
  Floats gain = normal_floats(c.heads, random), turn(kBatch * kTime * K);
  for (float& one : gain) one = 0.5f + std::fabs(one);
  for (size_t i = 0; i < turn.size(); i += 2) {
    const float angle = (float)(random() % 628) / 100;
    turn[i] = std::cos(angle);
    if (i + 1 < turn.size()) turn[i + 1] = std::sin(angle);
  }
  const seqstate::Heads p{kBatch, kTime, c.heads, c.shared, K, c.unit, c.gain ? gain.data() : nullptr,
                          c.turn ? turn.data() : nullptr, kTime * K};
  const int count[3] = {c.heads, c.shared, c.shared};
  Floats parts[3], grads[3];
  const float* given[3];
  seqstate::Strides strides[3];
  for (int i = 0; i < 3; ++i) {
    parts[i].assign(kBatch * kTime * count[i] * K, NAN);
    grads[i] = normal_floats(parts[i].size(), random);
    given[i] = grads[i].data();
    strides[i] = {(int64_t)kTime * count[i] * K, (int64_t)K, (int64_t)kTime * K};  // heads before time
  }
  Floats factor(kBatch * kTime * aimed, NAN), back(projected.size(), NAN);
  std::vector<double> along(c.heads, 0.0), wanted_along(c.heads, 0.0), wanted_back;
  std::vector<double> wanted[3];
  seqstate::split_heads(p, projected.data(), parts[0].data(), parts[1].data(), parts[2].data(), factor.data());
  seqstate::split_heads_back(p, given, strides, parts[0].data(), parts[1].data(), factor.data(), back.data(),
                             along.data());
  for (int64_t b = 0; b < kBatch; ++b)
    for (int64_t t = 0; t < kTime; ++t)
      for (int kind = 0, j = 0; kind < 3; ++kind)
        for (int h = 0; h < count[kind]; ++h, ++j) {
          const float* from = projected.data() + ((b * kTime + t) * all + j) * K;
          const bool plain = kind == 2;
          const Vector vector{{from, from + K},
                              kind == 0 && c.unit && c.gain ? gain[h] : 1.0,
                              c.turn && !plain ? turn.data() + (b * kTime + t) * K : nullptr,
                              c.unit && !plain};
          for (double one : vector.value()) wanted[kind].push_back(one);
          const float* to = given[kind] + ((b * count[kind] + h) * kTime + t) * K;
          double unused = 0;
          double* of_gain = kind == 0 && c.unit && c.gain ? &wanted_along[h] : &unused;
          for (double one : vector.gradient({to, to + K}, of_gain)) wanted_back.push_back(one);
        }
  std::vector<double> errors{distance(back, wanted_back),
                             distance(Floats(along.begin(), along.end()), wanted_along)};
  for (int i = 0; i < 3; ++i) errors.push_back(distance(parts[i], wanted[i]));
  for (double error : errors)
    if (!(error < 1e-4)) {
      std::printf("heads H %d S %d K %d unit %d gain %d turn %d: off by %g\n", c.heads, c.shared, K, c.unit,
                  c.gain, c.turn, error);
      return false;
    }
  return true;
}

}  // namespace

int failed_heads(std::mt19937& random, int* done) {
  int failed = 0;
  for (int width : {2, 6, 16, 38})
    for (int shared : {1, 2})
      for (int flags = 0; flags < 8; ++flags) {
        failed += !holds({3, shared, width, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0}, random);
        ++*done;
      }
  return failed;
}
