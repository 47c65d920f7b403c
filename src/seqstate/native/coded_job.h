// Words that are codes: what one thread is asked to do, and where. Included by the driver and every
// instruction set.
//
// A word is one of C codes in each of G groups; a row (a hidden vector) is a table of G C numbers, what each
// code adds to a logit. Rows are the lanes here, so a look-up is a plain load and any C will do; where there is
// one row only, words are the lanes, and sixteen codes are a register to be permuted (scan).
#pragma once
#include <cstdint>

namespace seqstate {

constexpr int kCodedRows = 32;    // rows of a block: the lanes of a few vectors
constexpr int kCodedWords = 64;   // words of a tile
constexpr int kScanCodes = 16;    // most codes a group that a scan can look up in registers
constexpr int kScanWords = 64;    // words of a scan's block
constexpr int kScanGroups = 8;    // groups whose codes share 32 bits

struct CodedJob {
  int64_t words;
  int groups, codes;
  const uint8_t* code;  // V x G
  const float* bias;    // V, or null
  bool want_tables, smoothing;
  // the rows being worked on, in blocks of kCodedRows
  int rows, blocks;
  bool first_rows;
  const float* packed;    // [block][G C][kCodedRows], base 2
  const int64_t* target;  // rows
  const float *lse_max, *lse_log;                // blocks x kCodedRows (backward)
  const float *grad_p, *grad_all, *grad_target;  // as in Job
  float* target_logit;  // rows (forward)
  float* grad_bias;     // V, or null; each thread writes its own words
};

struct CodedSlice {
  int64_t first_word, last_word;
  float *row_max, *row_sum, *row_total;  // blocks x kCodedRows (forward)
  float* grad_tables;                    // as `packed` (backward)
  float* logits;                         // kCodedWords x kCodedRows
};

// Words under one row. Codes: [V / 64][G / 8][64], eight groups of four bits in each 32; tables [G][16], with
// as many groups of zeros as make up eights.
struct ScanJob {
  int64_t words;  // whole blocks of kScanWords
  int groups;  // a multiple of kScanGroups
  const uint32_t* codes;
  const float *tables, *bias;  // bias: null for none
  float* out;
};

}  // namespace seqstate
