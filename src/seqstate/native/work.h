// What every driver of kernels needs: aligned working memory, and work shared out to threads.
#pragma once
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#include "driver.h"

namespace seqstate {

constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
constexpr int64_t kRowBytes = 4 << 20;  // packed rows and their gradients, all threads together

constexpr int kLine = 16;                  // floats of a cache line

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Hands out aligned pieces of one allocation.
class Arena {
 public:
  explicit Arena(int64_t floats) : size_(floats * 4 + 64), memory_(std::malloc(size_)) {
    next_ = reinterpret_cast<char*>(round_up(reinterpret_cast<int64_t>(memory_), 64));
    if (memory_ && poison) std::memset(memory_, 0xff, size_);  // all NaN
  }
  ~Arena() { std::free(memory_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  bool ok() const { return memory_ != nullptr; }
  template <class T = float>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += round_up(count * (int64_t)sizeof(T), 64);
    assert(next_ <= static_cast<char*>(memory_) + size_);  // of what the plan said
    return piece;
  }

 private:
  int64_t size_;
  void* memory_;
  char* next_;
};

// Runs work(0) ... work(threads - 1); a thread that cannot be started is done by this one.
template <class Work>
void fork_join(int threads, const Work& work) {
  std::vector<std::thread> others;
  int started = 1;
  try {
    others.reserve(threads - 1);
    for (; started < threads; ++started) others.emplace_back(work, started);
  } catch (const std::exception&) {
  }
  for (int t = started; t < threads; ++t) work(t);
  work(0);
  for (auto& other : others) other.join();
}

}  // namespace seqstate
