// The fused cross-entropy as a whole: pack the rows, share out the words, join the results.
#pragma once
#include "job.h"

namespace seqstate {

struct Problem {
  int kind;
  int64_t rows, words;
  int width, groups;
  const float *hidden, *table, *bias;  // R x D, V x D, V or null
  const float *tau, *a, *b;            // G each; the inner product reads a[0] as its scale, peaks no b
  const int64_t* targets;              // R
  int64_t ignore;
  double smoothing, z_loss;
  // The table may be a part of a vocabulary, the words from `first` on. Then `nll` counts only where the target
  // is one of them, and the backward pass wants the log-sum-exp over the whole.
  int64_t first = 0, vocabulary = 0;  // 0: the table is all of it
  // `hidden` holds numbers of bfloat16, and matrix products may round their other factors to such.
  bool bfloat16 = false;
  int64_t all_words() const { return vocabulary ? vocabulary : words; }
};

struct Forward {
  float *nll, *lse_max, *lse_log;  // R each; the log-sum-exp in two parts, base 2, for the backward pass
};

struct Backward {
  const float *grad_nll, *lse_max, *lse_log;                     // R each
  float *hidden, *table, *bias, *tau, *a, *b;  // null: not wanted
};

// Bytes of working memory that a call will allocate, all threads together.
int64_t workspace_bytes(const Problem&, const Isa&, int threads, bool backward);

// Both return 0, or 1 when memory is short; `forward` -1 - row for a target outside the vocabulary.
int64_t forward(const Problem&, const Isa&, int threads, const Forward&);
int64_t backward(const Problem&, const Isa&, int threads, const Backward&);

// Tests set it: working memory starts as NaN, so that a number read before it is written shows.
extern bool poison;

// The instruction sets of this build that this machine can run, best first.
int available_isas(const Isa** found, int room);

// Passes whose matrix products take pairs of bfloat16 (inner products and bits only); null where this instruction set,
// or this machine, has no such products.
const Passes* bf16_passes(const Isa&);

}  // namespace seqstate
