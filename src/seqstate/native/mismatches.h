// Words whose bits differ from a row's in few of the places that count.
#pragma once
#include <cstdint>
#include <vector>

namespace seqstate {

// codes: [chunks][words], 64 bits of every word a chunk; bits, counted: [rows][chunks]. The words of each row with fewer
// than most[row] mismatches, ascending.
void few_mismatches(int64_t words, int chunks, const uint64_t* codes, int64_t rows, const uint64_t* bits,
                    const uint64_t* counted, const int64_t* most, std::vector<std::vector<int64_t>>& found);

}  // namespace seqstate
