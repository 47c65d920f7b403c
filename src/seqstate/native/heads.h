// Queries, keys and values cut from one projection: normalised, scaled, rotated, and back.
#pragma once
#include <cstdint>

namespace seqstate {

constexpr int kMostWidth = 1024;  // of a head

// J = H + 2 S vectors of K numbers a token: H queries, S keys, S values.
struct Heads {
  int64_t batch, time;
  int heads, shared, width;  // H, S, K
  bool unit;                 // queries and keys are brought to a root mean square of 1
  const float* gain;         // H: factors of the queries, or null
  const float* turn;         // [batch or 1][time][K] cosine and sine by turns, or null
  int64_t turn_stride;       // floats from one batch row's angles to the next; 0: shared
};

struct Strides {
  int64_t batch, time, head;  // in floats; the numbers of a vector are neighbours
};

// projected [batch][time][J][K]; query, key, value contiguous; factor [batch][time][H + S] if `unit`.
void split_heads(const Heads&, const float* projected, float* query, float* key, float* value, float* factor);

// Gradients of query, key and value -> of the projection, and (if `gain`) the H sums <gradient, query>.
void split_heads_back(const Heads&, const float* const grads[3], const Strides strides[3], const float* query,
                      const float* key, const float* factor, float* projected, double* along);

}  // namespace seqstate
