// Words whose logit may be among the k largest of a row: products in 8 bits a number, and what they may be off.
//
// Word v is close to scale[v] * (number - 128), a row to unit * (256 high + low), 16 bits. Their products are exact
// sums of integers; what the rounding of both sides can add to a logit is bounded by lengths (Cauchy-Schwarz), and
// a word stays as long as its upper bound reaches the k-th largest lower bound.
#pragma once
#include <cstdint>
#include <vector>

namespace seqstate {

struct Isa;

constexpr int kShortWords = 64;  // words of a block
constexpr int kQuad = 4;         // numbers of a word that lie side by side

// Everything a word has is padded to whole blocks; a group's numbers to whole quads, by 128.
struct ShortWords {
  int64_t words;
  int groups, quads;       // quads of a group
  const uint8_t* numbers;  // [block][groups * quads][64][4]
  const float *scale, *error, *length;  // of a word; of what its 8 bits leave; of the longer of both
  const float* bias;       // or null
  float most_bias;         // the largest size of one
};

// logit = bias + <row, word>, or bias - sum_g tau miss(a <row_g, word_g> + b). G numbers each.
struct ShortEnergy {
  int kind;
  const float *tau, *a, *b;
};

// One row and its bounds, as an instruction set sees them.
struct ShortRow {
  int kind, groups;
  const float *tau, *factor, *offset;  // groups: a miss is read at factor * scale * product + offset
  float unit;
  float by_error, by_length, always;   // how far a logit may be off, per length of an error, of a word, at all
  const float *scale, *error, *length, *bias;
};

// Upper and lower bounds of the logits of a block of words, from their products [groups][64]; the largest upper one.
using ShortBounds = float (*)(const ShortRow&, const float* products, int64_t first, float* upper, float* lower);

// The words of each of `rows` rows of `width` numbers that may be among its k largest, ascending. False if a row is not finite.
bool shortlists(const ShortWords&, const ShortEnergy&, const Isa&, int64_t rows, int width, const float* row, int64_t k,
                std::vector<std::vector<int64_t>>& found);

}  // namespace seqstate
