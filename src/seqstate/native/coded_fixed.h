// Scans of words that are codes in fixed point: 24 bits a number, added up exactly, on processors that can
// permute bytes: a third faster than sixteen floats to a register, and as near to the true sum.
#pragma once
#include <cstdint>

namespace seqstate {

// Whether this machine has the instructions (AVX-512 VBMI and VNNI).
bool can_scan_fixed();

// A row's tables, [G][16] floats with G a multiple of eight, as 24-bit numbers in three planes of bytes.
struct FixedTables {
  const float* numbers;
  int groups;
  uint8_t* planes;     // fixed_bytes(groups), aligned to 64
  float scale, least;  // a logit is least + scale * the sum
};

constexpr int64_t fixed_bytes(int groups) { return 48 * (int64_t)groups; }

// Fills planes, scale and least; false if a number is not finite or the groups are more than can be added.
bool fix_tables(FixedTables&);

// Logits of `words` words from codes as in ScanJob; any number of words.
void scan_fixed(const FixedTables&, int64_t words, const uint32_t* codes, const float* bias, float* out);

}  // namespace seqstate
