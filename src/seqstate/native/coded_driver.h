// Words that are codes: the fused cross-entropy over their tables, and all logits of a row.
#pragma once
#include "driver.h"

namespace seqstate {

struct CodedProblem {
  int64_t rows, words;
  int groups, codes;
  const float* tables;   // R x G x C: what each code adds to a logit
  const uint8_t* code;   // V x G, each below C
  const float* bias;     // V or null
  const int64_t* targets;
  int64_t ignore;
  double smoothing, z_loss;
  int64_t all_words() const { return words; }
};

struct CodedBackward {
  const float *grad_nll, *lse_max, *lse_log;  // R each
  float *tables, *bias;                       // null: not wanted
};

// As `forward` and `backward`.
int64_t coded_forward(const CodedProblem&, const Isa&, int threads, const Forward&);
int64_t coded_backward(const CodedProblem&, const Isa&, int threads, const CodedBackward&);
int64_t coded_workspace_bytes(const CodedProblem&, const Isa&, int threads, bool backward);

// For scans. Numbers of 32 bits that the codes of V words take up, at most 16 codes a group; and their packing.
int64_t scan_size(int64_t words, int groups);
void pack_scan(int64_t words, int groups, const uint8_t* code, uint32_t* packed);

// out (R x V) = bias + what the codes of every word add: `packed` if there is one, else `code`. Terms are added
// in the order of the groups, or exactly and in fixed point (coded_fixed.h; only if can_scan_fixed() and packed).
// 0, or 1 when memory is short.
int64_t coded_logits(const CodedProblem&, const Isa&, const uint32_t* packed, bool fixed, float* out);

}  // namespace seqstate
