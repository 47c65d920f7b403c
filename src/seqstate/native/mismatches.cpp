#include "mismatches.h"

#include <algorithm>

#include "inline.h"

namespace seqstate {

namespace {

constexpr int kWords = 512;  // of a block, whose counts stay in the cache

// Ones of 64 bits, by adding neighbours: any compiler vectorises it.
INLINE int64_t ones(uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (int64_t)((x * 0x0101010101010101u) >> 56);
}

struct Row {
  const uint64_t *bits, *counted;
  int chunks;
  int64_t most;
};

template <int64_t (*count_ones)(uint64_t)>
INLINE void scan_block(const Row& row, int64_t words, const uint64_t* codes, int64_t first, int count,
                       std::vector<int64_t>& found) {
  int64_t missed[kWords];
  for (int i = 0; i < count; ++i) missed[i] = count_ones((codes[first + i] ^ row.bits[0]) & row.counted[0]);
  for (int c = 1; c < row.chunks; ++c)
    for (int i = 0; i < count; ++i)
      missed[i] += count_ones((codes[c * words + first + i] ^ row.bits[c]) & row.counted[c]);
  int few = 0;
  for (int i = 0; i < count; ++i) few += missed[i] < row.most;
  for (int i = 0; few && i < count; ++i)
    if (missed[i] < row.most) {
      found.push_back(first + i);
      --few;
    }
}

using Scan = void (*)(const Row&, int64_t, const uint64_t*, int64_t, int, std::vector<int64_t>&);

void scan_portable(const Row& row, int64_t words, const uint64_t* codes, int64_t first, int count,
                   std::vector<int64_t>& found) {
  scan_block<ones>(row, words, codes, first, count, found);
}

#if defined(__x86_64__) && defined(__GNUC__)
INLINE int64_t ones_at_once(uint64_t x) { return __builtin_popcountll(x); }

__attribute__((target("avx512f,avx512vpopcntdq"))) void scan_at_once(const Row& row, int64_t words,
                                                                     const uint64_t* codes, int64_t first, int count,
                                                                     std::vector<int64_t>& found) {
  scan_block<ones_at_once>(row, words, codes, first, count, found);
}

Scan scan_here() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vpopcntdq") ? scan_at_once : scan_portable;
}
#else
Scan scan_here() { return scan_portable; }
#endif

}  // namespace

void few_mismatches(int64_t words, int chunks, const uint64_t* codes, int64_t rows, const uint64_t* bits,
                    const uint64_t* counted, const int64_t* most, std::vector<std::vector<int64_t>>& found) {
  static const Scan scan = scan_here();
  found.assign(rows, {});
  for (int64_t first = 0; first < words; first += kWords) {
    const int count = (int)std::min<int64_t>(kWords, words - first);
    for (int64_t r = 0; r < rows; ++r)
      scan({bits + r * chunks, counted + r * chunks, chunks, most[r]}, words, codes, first, count, found[r]);
  }
}

}  // namespace seqstate
