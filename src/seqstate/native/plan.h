// The sizes of a fused cross-entropy's tiles, blocks and working memory.
#pragma once
#include "driver.h"

namespace seqstate {

// Everything about sizes that follows from the problem, the instruction set and the threads.
struct Plan {
  int row_block, threads, tile_rows, tile_words, block_rows, lanes, wide;
  bool groups, peaks, distance, powers, smoothing;
  int64_t word_step;  // distances
  const Passes* bf16;  // null: products as ever
  int pairs;           // of bfloat16 in a row or a word
  int row_pairs;       // backward: half of a pair of rows
  int64_t slice_floats, shared_floats;
};

Plan make_plan(const Problem&, const Isa&, int threads, bool backward);

}  // namespace seqstate
