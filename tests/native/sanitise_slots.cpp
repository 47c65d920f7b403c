// Slots written into and attended to, forwards and back, against the recurrence in double precision.
#include <cstdio>

#include "sanitise.h"
#include "slots.h"

namespace {

using Doubles = std::vector<double>;

struct Case {
  int64_t batch, time;
  int heads, slots, width, threads;
};

// One row and head: what every token is given, what is held after the last, and the gradients of both.
struct Twin {
  const seqstate::Slots& p;
  int64_t row;
  std::vector<Doubles> held;   // before each token and after the last
  std::vector<Doubles> share;  // of each token

  int64_t token(int64_t t) const { return (row / p.heads * p.time + t) * p.heads + row % p.heads; }

  void read(Doubles* mixed, Doubles* after) {
    const int K = p.width, S = p.slots;
    const float* from = p.held + row * S * 2 * K;
    held.assign(1, Doubles(from, from + S * 2 * K));
    for (int64_t t = 0; t < p.time; ++t) {
      Doubles now = held.back(), scores(S);
      const int64_t at = token(t);
      double sum = 0;
      for (int m = 0; m < S; ++m) {
        const double w = p.write[at * S + m];
        for (int k = 0; k < K; ++k) {
          now[m * 2 * K + k] += w * (p.key[at * K + k] - now[m * 2 * K + k]);
          now[m * 2 * K + K + k] += w * (p.value[at * K + k] - now[m * 2 * K + K + k]);
          scores[m] += p.query[at * K + k] * now[m * 2 * K + k];
        }
      }
      const double most = *std::max_element(scores.begin(), scores.end());
      for (double& one : scores) sum += one = std::exp(one - most);
      for (int m = 0; m < S; ++m) {
        scores[m] /= sum;
        for (int k = 0; k < K; ++k) (*mixed)[at * K + k] += scores[m] * now[m * 2 * K + K + k];
      }
      share.push_back(scores);
      held.push_back(now);
    }
    std::copy(held.back().begin(), held.back().end(), after->begin() + row * S * 2 * K);
  }

  void back(const Floats& to_mixed, const Floats& to_after, Doubles* query, Doubles* key, Doubles* value,
            Doubles* write, Doubles* start) const {
    const int K = p.width, S = p.slots;
    const float* last = to_after.data() + row * S * 2 * K;
    Doubles to(last, last + S * 2 * K);
    for (int64_t t = p.time - 1; t >= 0; --t) {
      const int64_t at = token(t);
      const Doubles &now = held[t + 1], &before = held[t];
      Doubles of_share(S);
      double all = 0;
      for (int m = 0; m < S; ++m) {
        for (int k = 0; k < K; ++k) of_share[m] += to_mixed[at * K + k] * now[m * 2 * K + K + k];
        all += share[t][m] * of_share[m];
      }
      for (int m = 0; m < S; ++m) {
        const double of_score = share[t][m] * (of_share[m] - all), w = p.write[at * S + m];
        for (int k = 0; k < 2 * K; ++k) {
          const bool keys = k < K;
          double& one = to[m * 2 * K + k];
          if (keys) (*query)[at * K + k] += of_score * now[m * 2 * K + k];
          one += keys ? of_score * p.query[at * K + k] : share[t][m] * to_mixed[at * K + k - K];
          const double given = keys ? p.key[at * K + k] : p.value[at * K + k - K];
          (keys ? (*key)[at * K + k] : (*value)[at * K + k - K]) += w * one;
          (*write)[at * S + m] += one * (given - before[m * 2 * K + k]);
          one *= 1 - w;
        }
      }
    }
    std::copy(to.begin(), to.end(), start->begin() + row * S * 2 * K);
  }
};

bool holds(const seqstate::Isa& isa, const Case& c, std::mt19937& random) {
  const int64_t tokens = c.batch * c.time * c.heads, rows = c.batch * c.heads;
  const int64_t vectors = tokens * c.width, writes = tokens * c.slots, kept = rows * c.slots * 2 * c.width;
  const Floats query = normal_floats(vectors, random), key = normal_floats(vectors, random);
  const Floats value = normal_floats(vectors, random), held = normal_floats(kept, random);
  const Floats to_mixed = normal_floats(vectors, random), to_after = normal_floats(kept, random);
  Floats write(writes);
  for (float& one : write) one = (float)(random() % 1000) / 1000;
  const seqstate::Slots p{c.batch,    c.time,       c.heads,      c.slots,     c.width,
                          query.data(), key.data(), value.data(), write.data(), held.data()};

  Floats mixed(vectors, NAN), after(kept, NAN), share(rows * p.pieces() * c.slots * seqstate::kSlotPiece, NAN);
  Floats marks(kept * p.pieces(), NAN);
  if (seqstate::slots_mix(p, isa, c.threads, {mixed.data(), after.data(), share.data(), marks.data()}) != 0)
    return false;
  Floats grads[5] = {Floats(vectors, NAN), Floats(vectors, NAN), Floats(vectors, NAN), Floats(writes, NAN),
                     Floats(kept, NAN)};
  const seqstate::SlotsBack out{share.data(),    marks.data(),    to_mixed.data(), to_after.data(), grads[0].data(),
                                grads[1].data(), grads[2].data(), grads[3].data(), grads[4].data()};
  if (seqstate::slots_mix_back(p, isa, c.threads, out) != 0) return false;

  Doubles to_mix(vectors), to_hold(kept);
  Doubles wanted[5] = {Doubles(vectors), Doubles(vectors), Doubles(vectors), Doubles(writes), Doubles(kept)};
  for (int64_t row = 0; row < rows; ++row) {
    Twin twin{p, row, {}, {}};
    twin.read(&to_mix, &to_hold);
    twin.back(to_mixed, to_after, &wanted[0], &wanted[1], &wanted[2], &wanted[3], &wanted[4]);
  }
  Doubles errors{distance(mixed, to_mix), distance(after, to_hold)};
  for (int i = 0; i < 5; ++i) errors.push_back(distance(grads[i], wanted[i]));
  for (double error : errors)
    if (!(error < 1e-4)) {
      std::printf("%s slots B %lld T %lld H %d S %d K %d threads %d: off by %g\n", isa.name, (long long)c.batch,
                  (long long)c.time, c.heads, c.slots, c.width, c.threads, error);
      return false;
    }
  return true;
}

}  // namespace

int failed_slots(const seqstate::Isa& isa, std::mt19937& random, int* done) {
  const Case cases[] = {{1, 1, 1, 1, 1, 1},  {2, 7, 3, 3, 5, 1},    {3, 33, 2, 16, 17, 3},
                        {2, 16, 1, 17, 32, 1}, {1, 40, 2, 33, 70, 3}, {1, 5, 1, 2, 256, 1}};
  int failed = 0;
  for (const Case& c : cases) {
    failed += !holds(isa, c, random);
    ++*done;
  }
  return failed;
}
