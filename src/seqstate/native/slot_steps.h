// One row and head of slots after another, for one instruction set. A piece of 16 tokens is read at once, slot
// by slot, so that what a slot holds stays in registers; what belongs to a token and a slot is kept [S][16].
#pragma once

template <int BLOCKS>
struct SlotSteps {
  static constexpr int P = kSlotPiece;
  static constexpr int kMost = BLOCKS ? BLOCKS : kMostSlotWidth / L;
  const Slots& p;
  const SlotsShare& mine;
  const int blocks, padded;  // vectors of a head; its width in whole vectors

  INLINE SlotSteps(const Slots& p, const SlotsShare& mine)
      : p(p), mine(mine), blocks(BLOCKS ? BLOCKS : (p.width + L - 1) / L), padded(blocks * L) {}

  INLINE int64_t token(int64_t row, int64_t t) const {  // row = (batch, head)
    return (row / p.heads * p.time + t) * p.heads + row % p.heads;
  }

  INLINE int count(int64_t piece) const {
    const int64_t left = p.time - piece * P;
    return left < P ? (int)left : P;
  }

  INLINE void widened(const float* from, float* to) const {
    if (p.width == padded) {
      for (int j = 0; j < blocks; ++j) store(to + j * L, load(from + j * L));
      return;
    }
    for (int i = 0; i < p.width; ++i) to[i] = from[i];
    for (int i = p.width; i < padded; ++i) to[i] = 0.0f;
  }

  INLINE void narrowed(const float* from, float* to) const {
    if (p.width == padded) {
      for (int j = 0; j < blocks; ++j) store(to + j * L, load(from + j * L));
      return;
    }
    for (int i = 0; i < p.width; ++i) to[i] = from[i];
  }

  INLINE void cleared(int count, float* to) const {
    for (int i = 0; i < count * padded; i += L) store(to + i, set1(0.0f));
  }

  INLINE void widened_slots(const float* from, float* to) const {
    for (int i = 0; i < 2 * p.slots; ++i) widened(from + (int64_t)i * p.width, to + (int64_t)i * padded);
  }

  INLINE void narrowed_slots(const float* from, float* to) const {
    for (int i = 0; i < 2 * p.slots; ++i) narrowed(from + (int64_t)i * padded, to + (int64_t)i * p.width);
  }

  // The vectors of a piece's tokens, [16][K].
  INLINE void gather(const float* from, int64_t row, int64_t piece, float* to) const {
    for (int n = 0; n < count(piece); ++n) widened(from + token(row, piece * P + n) * p.width, to + n * padded);
  }

  INLINE void scatter(const float* from, int64_t row, int64_t piece, float* to) const {
    for (int n = 0; n < count(piece); ++n) narrowed(from + n * padded, to + token(row, piece * P + n) * p.width);
  }

  INLINE void gather_writes(int64_t row, int64_t piece) const {
    for (int n = 0; n < count(piece); ++n)
      for (int m = 0; m < p.slots; ++m) mine.write[m * P + n] = p.write[token(row, piece * P + n) * p.slots + m];
  }

  // Sums of the lanes of 16 vectors, in order.
  static INLINE void sums_of(F part[P], float* out) {
    for (int g = 0; g < P; g += L) {
      for (int n = L / 2; n >= 1; n /= 2)
        for (int i = 0; i < n; ++i) part[g + i] = pair_sums(part[g + 2 * i], part[g + 2 * i + 1]);
      store(out + g, part[g]);
    }
  }

  static INLINE F stepped(F held, F write, F kept, const float* given) {
    return fma(kept, held, mul(write, load(given)));
  }

  // One half of a slot (keys or values) after each token of a piece; the products with each token's `aim`.
  INLINE void products(const float* given, const float* aim, const float* write, int count, float* half, bool move,
                       float* out) const {
    F held[kMost], part[P];
    for (int j = 0; j < blocks; ++j) held[j] = load(half + j * L);
    for (int n = 0; n < P; ++n) part[n] = set1(0.0f);
    for (int n = 0; n < count; ++n) {
      const F w = set1(write[n]), kept = set1(1.0f - write[n]);
      F sum = set1(0.0f);
      for (int j = 0; j < blocks; ++j) {
        held[j] = stepped(held[j], w, kept, given + n * padded + j * L);
        sum = fma(held[j], load(aim + n * padded + j * L), sum);
      }
      part[n] = sum;
    }
    if (move)
      for (int j = 0; j < blocks; ++j) store(half + j * L, held[j]);
    sums_of(part, out);
  }

  // Scores of a piece's tokens become their shares.
  INLINE void softmax(float* x) const {
    const F least = set1(-127.0f), unit = set1(1.4426950408889634f);
    const Power power = Power::make();
    for (int g = 0; g < P; g += L) {
      F most = load(x + g), sum = set1(0.0f);
      for (int m = 1; m < p.slots; ++m) most = at_least(load(x + m * P + g), most);
      for (int m = 0; m < p.slots; ++m) {
        const F e = power(at_least(mul(sub(load(x + m * P + g), most), unit), least));
        store(x + m * P + g, e);
        sum = add(sum, e);
      }
      const F scale = reciprocal(sum);
      for (int m = 0; m < p.slots; ++m) store(x + m * P + g, mul(load(x + m * P + g), scale));
    }
  }

  // The values of a slot after each token, by the tokens' shares, added to what each token is given.
  INLINE void give(const float* write, const float* share, int count, float* half) const {
    const float* value = mine.value;
    float* to = mine.mixed;
    F held[kMost];
    for (int j = 0; j < blocks; ++j) held[j] = load(half + j * L);
    for (int n = 0; n < count; ++n) {
      const F w = set1(write[n]), kept = set1(1.0f - write[n]), by = set1(share[n]);
      for (int j = 0; j < blocks; ++j) {
        float* mixed = to + n * padded + j * L;
        held[j] = stepped(held[j], w, kept, value + n * padded + j * L);
        store(mixed, fma(by, held[j], load(mixed)));
      }
    }
    for (int j = 0; j < blocks; ++j) store(half + j * L, held[j]);
  }

  INLINE void forward(const SlotsMixed& out) const {
    const int64_t size = (int64_t)p.slots * 2 * p.width;
    for (int64_t row = mine.first; row < mine.last; ++row) {
      widened_slots(p.held + row * size, mine.held);
      for (int64_t piece = 0; piece < p.pieces(); ++piece) {
        const int64_t at = row * p.pieces() + piece;
        const int tokens = count(piece);
        if (out.marks) narrowed_slots(mine.held, out.marks + at * size);
        gather(p.query, row, piece, mine.query);
        gather(p.key, row, piece, mine.key);
        gather(p.value, row, piece, mine.value);
        gather_writes(row, piece);
        float* share = out.share ? out.share + at * p.slots * P : mine.share;
        for (int m = 0; m < p.slots; ++m)
          products(mine.key, mine.query, mine.write + m * P, tokens, mine.held + 2 * m * padded, true, share + m * P);
        softmax(share);
        cleared(tokens, mine.mixed);
        for (int m = 0; m < p.slots; ++m)
          give(mine.write + m * P, share + m * P, tokens, mine.held + (2 * m + 1) * padded);
        scatter(mine.mixed, row, piece, out.mixed);
      }
      narrowed_slots(mine.held, out.after + row * size);
    }
  }

  // Gradients of the scores, from those of the shares, in place.
  INLINE void softmax_back(const float* share, float* x) const {
    for (int g = 0; g < P; g += L) {
      F mean = set1(0.0f);
      for (int m = 0; m < p.slots; ++m) mean = fma(load(share + m * P + g), load(x + m * P + g), mean);
      for (int m = 0; m < p.slots; ++m)
        store(x + m * P + g, mul(load(share + m * P + g), sub(load(x + m * P + g), mean)));
    }
  }

  // What a slot holds before each token of a piece and after the last: [17][2 K].
  INLINE void recalled(int m, int count) const {
    F r[kMost], u[kMost];
    const float *key = mine.key, *value = mine.value, *write = mine.write + m * P;
    const float* held = mine.held + 2 * m * padded;
    float* states = mine.states;
    for (int j = 0; j < blocks; ++j) r[j] = load(held + j * L), u[j] = load(held + padded + j * L);
    for (int n = 0;; ++n) {
      float* to = states + n * 2 * padded;
      for (int j = 0; j < blocks; ++j) store(to + j * L, r[j]), store(to + padded + j * L, u[j]);
      if (n == count) return;
      const F w = set1(write[n]), kept = set1(1.0f - write[n]);
      for (int j = 0; j < blocks; ++j) {
        r[j] = stepped(r[j], w, kept, key + n * padded + j * L);
        u[j] = stepped(u[j], w, kept, value + n * padded + j * L);
      }
    }
  }

  // Adds what one slot gives to the gradients of a piece's tokens; `to_held` moves to before the piece.
  INLINE void slot_back(int m, int count, const float* share) const {
    F to_r[kMost], to_u[kMost], part[P];
    float* to_held = mine.to_held + 2 * m * padded;
    const float *query = mine.query, *key = mine.key, *value = mine.value, *to_mixed = mine.to_mixed;
    const float *write = mine.write + m * P, *scores = mine.scores + m * P, *states = mine.states;
    float *to_query = mine.to_query, *to_key = mine.to_key, *to_value = mine.to_value;
    for (int j = 0; j < blocks; ++j) to_r[j] = load(to_held + j * L), to_u[j] = load(to_held + padded + j * L);
    for (int n = 0; n < P; ++n) part[n] = set1(0.0f);
    for (int n = count - 1; n >= 0; --n) {
      const F w = set1(write[n]), kept = set1(1.0f - write[n]);
      const F asked = set1(scores[n]), by = set1(share[m * P + n]);
      const float *was = states + n * 2 * padded, *is = was + 2 * padded;
      F sum = set1(0.0f);
      for (int j = 0; j < blocks; ++j) {
        const int at = n * padded + j * L;
        to_r[j] = fma(asked, load(query + at), to_r[j]);
        to_u[j] = fma(by, load(to_mixed + at), to_u[j]);
        store(to_query + at, fma(asked, load(is + j * L), load(to_query + at)));
        store(to_key + at, fma(w, to_r[j], load(to_key + at)));
        store(to_value + at, fma(w, to_u[j], load(to_value + at)));
        sum = fma(to_r[j], sub(load(key + at), load(was + j * L)), sum);
        sum = fma(to_u[j], sub(load(value + at), load(was + padded + j * L)), sum);
        to_r[j] = mul(kept, to_r[j]);
        to_u[j] = mul(kept, to_u[j]);
      }
      part[n] = sum;
    }
    for (int j = 0; j < blocks; ++j) store(to_held + j * L, to_r[j]), store(to_held + padded + j * L, to_u[j]);
    sums_of(part, mine.share + m * P);
  }

  INLINE void backward(const SlotsBack& out) const {
    const int64_t size = (int64_t)p.slots * 2 * p.width;
    for (int64_t row = mine.first; row < mine.last; ++row) {
      widened_slots(out.to_after + row * size, mine.to_held);
      for (int64_t piece = p.pieces() - 1; piece >= 0; --piece) {
        const int64_t at = row * p.pieces() + piece;
        const int tokens = count(piece);
        const float* share = out.share + at * p.slots * P;
        widened_slots(out.marks + at * size, mine.held);
        gather(p.query, row, piece, mine.query);
        gather(p.key, row, piece, mine.key);
        gather(p.value, row, piece, mine.value);
        gather(out.to_mixed, row, piece, mine.to_mixed);
        gather_writes(row, piece);
        for (int m = 0; m < p.slots; ++m)
          products(mine.value, mine.to_mixed, mine.write + m * P, tokens, mine.held + (2 * m + 1) * padded, false,
                   mine.scores + m * P);
        softmax_back(share, mine.scores);
        cleared(tokens, mine.to_query);
        cleared(tokens, mine.to_key);
        cleared(tokens, mine.to_value);
        for (int m = 0; m < p.slots; ++m) {
          recalled(m, tokens);
          slot_back(m, tokens, share);
        }
        scatter(mine.to_query, row, piece, out.to_query);
        scatter(mine.to_key, row, piece, out.to_key);
        scatter(mine.to_value, row, piece, out.to_value);
        for (int n = 0; n < tokens; ++n)
          for (int m = 0; m < p.slots; ++m)
            out.to_write[token(row, piece * P + n) * p.slots + m] = mine.share[m * P + n];
      }
      narrowed_slots(mine.to_held, out.to_held + row * size);
    }
  }
};

// The usual widths with a slot in registers, and any other.
static void mix(const Slots& p, const SlotsShare& mine, const SlotsMixed& out) {
  switch ((p.width + L - 1) / L) {
    case 1: return SlotSteps<1>(p, mine).forward(out);
    case 2: return SlotSteps<2>(p, mine).forward(out);
    case 4: return SlotSteps<4>(p, mine).forward(out);
    default: return SlotSteps<0>(p, mine).forward(out);
  }
}

static void mix_back(const Slots& p, const SlotsShare& mine, const SlotsBack& out) {
  switch ((p.width + L - 1) / L) {
    case 1: return SlotSteps<1>(p, mine).backward(out);
    case 2: return SlotSteps<2>(p, mine).backward(out);
    case 4: return SlotSteps<4>(p, mine).backward(out);
    default: return SlotSteps<0>(p, mine).backward(out);
  }
}
