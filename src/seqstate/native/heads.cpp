#include "heads.h"

#include "inline.h"

#include <math.h>
#include <string.h>

// One copy for each of these processors, the best chosen when the library is loaded (which happens before the
// thread sanitiser is ready for it).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define CLONES
#endif

namespace seqstate {
namespace {

constexpr float kEpsilon = 1e-6f;  // added to the mean square before it is normalised
constexpr int kSums = 16;          // partial sums, so that a dot product is not one long chain

INLINE float dot(const float* x, const float* y, int width) {
  float sums[kSums] = {};
  int i = 0;
  for (; i + kSums <= width; i += kSums)
    for (int j = 0; j < kSums; ++j) sums[j] += x[i + j] * y[i + j];
  float total = 0;
  for (; i < width; ++i) total += x[i] * y[i];
  for (int j = 0; j < kSums; ++j) total += sums[j];
  return total;
}

// y = factor (x turned by +- angle); sign 1 forwards, -1 back.
INLINE void turned(const float* __restrict x, const float* __restrict turn, float factor, float sign, int width,
                   float* __restrict y) {
  if (!turn) {
    for (int i = 0; i < width; ++i) y[i] = factor * x[i];
    return;
  }
  for (int i = 0; i + 1 < width; i += 2) {
    const float c = factor * turn[i], s = factor * sign * turn[i + 1];
    y[i] = x[i] * c - x[i + 1] * s;
    y[i + 1] = x[i] * s + x[i + 1] * c;
  }
}

}  // namespace

CLONES void split_heads(const Heads& p, const float* projected, float* query, float* key, float* value,
                        float* factor) {
  const int width = p.width, aimed = p.heads + p.shared;
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t t = 0; t < p.time; ++t) {
      const float* turn = p.turn ? p.turn + b * p.turn_stride + t * width : nullptr;
      for (int j = 0; j < aimed; ++j, projected += width) {
        float f = 1;
        if (p.unit) {
          f = 1 / sqrtf(dot(projected, projected, width) / width + kEpsilon);
          if (p.gain && j < p.heads) f *= p.gain[j];
          *factor++ = f;
        }
        float*& to = j < p.heads ? query : key;
        turned(projected, turn, f, 1, width, to);
        to += width;
      }
      memcpy(value, projected, sizeof(float) * p.shared * width);
      value += p.shared * width;
      projected += p.shared * width;
    }
}

CLONES void split_heads_back(const Heads& p, const float* const grads[3], const Strides strides[3],
                             const float* query, const float* key, const float* factor, float* projected,
                             double* along) {
  const int width = p.width;
  const int count[3] = {p.heads, p.shared, p.shared};
  float row[kMostWidth];
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t t = 0; t < p.time; ++t) {
      const float* turn = p.turn ? p.turn + b * p.turn_stride + t * width : nullptr;
      for (int kind = 0; kind < 3; ++kind) {
        const Strides& by = strides[kind];
        const float* grad = grads[kind] + b * by.batch + t * by.time;
        for (int h = 0; h < count[kind]; ++h, grad += by.head, projected += width) {
          if (kind == 2) {
            memcpy(projected, grad, sizeof(float) * width);
          } else if (!p.unit) {
            turned(grad, turn, 1, -1, width, projected);
          } else {
            const float*& y = kind == 0 ? query : key;
            const float length = dot(grad, y, width);  // what changes the length, and that alone
            float share = length / width;
            if (kind == 0 && p.gain) {
              share /= p.gain[h] * p.gain[h];
              along[h] += length;
            }
            for (int i = 0; i < width; ++i) row[i] = grad[i] - share * y[i];
            turned(row, turn, *factor++, -1, width, projected);
            y += width;
          }
        }
      }
    }
}

}  // namespace seqstate
