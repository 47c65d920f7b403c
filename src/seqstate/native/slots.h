// Slots that tokens are written into and attend to, step by step, forwards and back.
//
// For each batch row and head, with held = keys r and values u of S slots, and token (q, k, v, w):
//
//     held_m += w_m ((k, v) - held_m)        share = softmax_m <q, r_m>        mixed = sum_m share_m u_m
#pragma once
#include <cstdint>

namespace seqstate {

constexpr int kMostSlotWidth = 256;  // of a head
constexpr int kSlotPiece = 16;       // tokens read at once; what is held before each piece is kept for going back

struct Isa;

struct Slots {
  int64_t batch, time;
  int heads, slots, width;          // H, S, K
  const float *query, *key, *value;  // [batch][time][H][K]
  const float* write;               // [batch][time][H][S]: how much of a slot the token replaces
  const float* held;                // [batch][H][S][2 K], keys beside values

  int64_t pieces() const { return (time + kSlotPiece - 1) / kSlotPiece; }
};

struct SlotsMixed {
  float *mixed, *after;  // as query; as held
  float *share;          // [batch][H][pieces][S][16], for going back; or null
  float *marks;          // [batch][H][pieces][S][2 K]: what is held before each piece; or null
};

struct SlotsBack {
  const float *share, *marks, *to_mixed, *to_after;
  float *to_query, *to_key, *to_value, *to_write, *to_held;
};

// One thread's share of the rows and heads, and its private memory, all padded to whole vectors.
struct SlotsShare {
  int64_t first, last;
  float *held, *to_held;                       // [S][2 K]
  float *query, *key, *value, *mixed;          // [16][K]: a piece's tokens
  float *to_query, *to_key, *to_value, *to_mixed;
  float *write, *scores, *share;               // [S][16]
  float* states;                               // [17][2 K]: one slot before each token and after the last
};

// Both return 0, or 1 when memory is short.
int64_t slots_mix(const Slots&, const Isa&, int threads, const SlotsMixed&);
int64_t slots_mix_back(const Slots&, const Isa&, int threads, const SlotsBack&);

}  // namespace seqstate
