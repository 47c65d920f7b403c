// What the parts of the sanitiser run share.
#pragma once
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "driver.h"

using Floats = std::vector<float>;

inline Floats normal_floats(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats out(count);
  for (float& x : out) x = normal(random);
  return out;
}

// Largest error, relative to the largest number wanted or 1; NaN if there is one.
inline double distance(const Floats& found, const std::vector<double>& wanted) {
  double most = 1, error = 0;
  for (double x : wanted) most = std::max(most, std::fabs(x));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double off = std::fabs(found[i] - wanted[i]);
    error = off >= error ? off : error;
    if (std::isnan(off)) return off;
  }
  return error / most;
}

// How many problems of each kind fail; all are added to `done`.
int failed_codes(const seqstate::Isa&, std::mt19937&, int* done);
int failed_slots(const seqstate::Isa&, std::mt19937&, int* done);
int failed_shortlists(const seqstate::Isa&, std::mt19937&, int* done);
int failed_heads(std::mt19937&, int* done);
int failed_mismatches(std::mt19937&, int* done);
