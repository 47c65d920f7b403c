// What one thread is asked to do, and where: plain data shared by the driver and every instruction set.
//
// Letters: R rows (hidden vectors), V words, D width, G groups of K numbers (D = G K).
// All scores are kept in base 2 (logit * log2 e), so that the softmax and the sigmoid are powers of two.
#pragma once
#include <cstdint>

#include "shortlist.h"
#include "slots.h"
#include "coded_job.h"

namespace seqstate {

enum Kind { kInner, kSigmoid, kClampedLinear, kRational, kPeak, kTanh, kExponential, kClipped, kAbsolute };

inline bool is_distance(int kind) { return kind >= kTanh; }
inline bool takes_powers(int kind) { return kind == kTanh || kind == kExponential; }

// Dimensions whose costs are summed by themselves, because a long sum rounds more. What kernels of powers add is
// 1 - D, so they start at minus the most it can be.
constexpr int kTogether = 16;

// A rectangular piece of work on R x V is a tile of `tile_rows` x `tile_words`; the rows of one block
// (at most `block_rows`) are packed once and seen by all threads, the words are split between them.
struct Job {
  // the problem
  int kind;
  int64_t words;
  int width, groups, group_width;
  const float* table;      // V x D
  const float* bias;       // V, or null
  const float* tau2;       // G: tau * log2 e
  const float* inner_b;    // G: offset of the packed inner arguments; distances: where the sum over some of them starts
  const float* word_scale; // D: factor of the raw word gradient
  const float* row_scale;  // G: factor of the packed rows
  const float* sharpness;  // G: a log2 e, where the inner argument is a distance (kPeak)
  bool want_words, want_hidden, want_groups, smoothing;
  // the tiling
  int tile_rows, tile_words;
  int64_t word_step;  // distances: from one dimension of a tile's words to the next
  // the block of rows being worked on
  int rows, padded_rows;  // padded to a multiple of the register block
  bool first_block;
  const float* packed;      // [rows / MR][D][MR], scaled
  const uint32_t* pairs;    // if products take bfloat16: [rows / MR][G][pairs of a group][MR], not scaled
  const uint32_t* row_pairs;  // backward, if so: [rows / MR][D][pairs of rows], not scaled
  const float* row_norm;    // [tile][G]: the longest packed row of a tile in each group
  const float* row_offset;  // kPeak: [rows / MR][G][MR], what a row's own length adds to the inner argument
  const int64_t* target;    // rows
  const float *lse_max, *lse_log;           // padded_rows (backward)
  const float *grad_p, *grad_all, *grad_target;  // padded_rows: dlogit = grad_p * p - grad_all - grad_target * [v = target]
  // results shared by the threads, each writing its own words or rows
  float* target_logit;  // rows (forward)
  float *grad_table, *grad_bias;
};

// One thread's share and its private memory.
struct Slice {
  int64_t first_word, last_word;
  // forward: running statistics of every row of the block
  float *row_max, *row_sum, *row_total;  // rows; rows x lanes; rows x lanes (label smoothing)
  // backward
  float* grad_hidden;             // packed sums of gradient * word, every row of the block
  double *grad_tau, *grad_b;      // G
  float* row_own;              // kPeak: [rows][G], sums of gradient over the words
  // tiles
  float* word_norm;  // G: the longest word of the tile in each group
  float *words_t, *words_p, *grad_words_t, *bias, *grad_bias;
  uint32_t* words_b;  // pairs of bfloat16: [words / NB][G][pairs of a group][NB]
  float *logits, *inner_grad, *stored;  // products of bfloat16: inner_grad holds gradients in pairs
  float *word_offset, *word_sum;  // kPeak: [words / NB][G][NB], of a word's length; sums over the rows
  float* row_part;  // sums over words. kPeak: of one group, [tile_rows][lanes]; distances: [D][row block][lanes]
  float *words_c, *words_e, *row_c, *row_e;  // distances: powers of both sides
  float* tau_sum;                 // distances: [D][lanes]
  double* grad_sum;               // distances: of the logits, all of them
};

struct Isa {
  const char* name;
  int lanes, row_block, word_block, row_multiple;
  void (*forward)(const Job&, const Slice&);
  void (*backward)(const Job&, const Slice&);
  void (*coded_forward)(const CodedJob&, const CodedSlice&);
  void (*coded_backward)(const CodedJob&, const CodedSlice&);
  void (*scan)(const ScanJob&);
  void (*mix)(const Slots&, const SlotsShare&, const SlotsMixed&);
  void (*mix_back)(const Slots&, const SlotsShare&, const SlotsBack&);
  ShortBounds bounds;
};

// The two passes, for other matrix products than an instruction set's own.
struct Passes {
  void (*forward)(const Job&, const Slice&);
  void (*backward)(const Job&, const Slice&);
};

// How wide the rows of `grad_hidden` are for a group of K numbers: a power of two, or whole vectors.
inline int padded_group(int group_width, int lanes) {
  if (group_width >= lanes) return (group_width + lanes - 1) / lanes * lanes;
  int wide = 1;
  while (wide < group_width) wide *= 2;
  return wide;
}

}  // namespace seqstate
