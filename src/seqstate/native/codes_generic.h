// Look-ups of four-bit codes without a permutation of registers: for vectors of any processor.
#pragma once

// Four codes of as many words as there are lanes, the lowest bits first: of the lower or the upper half of 32.
struct Codes {
  uint32_t lane[L];
  static INLINE Codes make(const uint32_t* p, int half) {
    Codes codes;
    for (int i = 0; i < L; ++i) codes.lane[i] = p[i] >> (16 * half);
    return codes;
  }
  INLINE void next() {
    for (int i = 0; i < L; ++i) lane[i] >>= 4;
  }
};

struct Table16 {
  const float* numbers;
  static INLINE Table16 make(const float* p) { return {p}; }
  INLINE F operator()(const Codes& codes) const {
    float found[L];
    for (int i = 0; i < L; ++i) found[i] = numbers[codes.lane[i] & 15];
    return load(found);
  }
};
