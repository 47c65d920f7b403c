// Distances of the difference, number by number (`hamming`), and their gradients. Included once per instruction set.
//
// With t a number of a side in the distance's own unit, 2^-|t_h - t_w| is min(c_h, c_w) e_h e_w where c = 2^-2t and
// e = 2^t: powers are taken of each side once, and a pair costs a few products. Tiles with a |t| beyond `limit`
// take them pair by pair.
//
// Layouts (S words of a tile and a cache line, so that neighbours in d do not meet in the caches):
//   words_t, words_c, words_e, grad_words_t   [D][S]         row_c, row_e   [rows / MR][D][MR], as the packed rows
//   scores   [words / NB][tile_rows][NB]      grad_hidden    [tile][D][tile_rows]
#pragma once

// Of a pair: `near` and `far` give the same number, from powers or from the difference; `logit` adds its share to
// the logit; `slope` is proportional to g times the derivative by |t|, and g times what tau multiplies joins `sum`.
struct Tanh {  // t = 2 a h log2 e; 1 - tanh = 2 share
  static constexpr bool powers = true, folded = false;
  Power power;
  F one, most;
  static INLINE Tanh make() { return {Power::make(), pinned(set1(1.0f)), pinned(set1(120.0f))}; }
  INLINE F near(F row_c, F row_e, F word_c, F word_e) const {
    return reciprocal(fma(mul(at_least(row_c, word_c), word_e), row_e, one));
  }
  INLINE F far(F difference) const { return reciprocal(add(one, power(at_most(absolute(difference), most)))); }
  INLINE F logit(F share, F tau, F logit) const { return fma(tau, share, logit); }
  INLINE F slope(F share, F, F g, F& sum) const {
    sum = fma(g, share, sum);
    return mul(g, fnma(share, share, share));
  }
};
struct Exponential {  // t = a h log2 e; `share` is tau exp(-|t|), the words' powers have tau in them
  static constexpr bool powers = true, folded = true;
  Power power;
  F least;
  static INLINE Exponential make() { return {Power::make(), pinned(set1(-127.0f))}; }
  INLINE F near(F row_c, F row_e, F word_c, F word_e) const {
    return mul(mul(at_most(row_c, word_c), word_e), row_e);
  }
  INLINE F far(F difference) const { return power(at_least(sub(set1(0.0f), absolute(difference)), least)); }
  INLINE F logit(F share, F, F logit) const { return add(share, logit); }
  INLINE F slope(F share, F, F g, F& sum) const {
    const F value = mul(g, share);
    sum = add(value, sum);
    return value;
  }
};
struct Clipped {  // t = a h
  static constexpr bool powers = false, folded = false;
  F one;
  static INLINE Clipped make() { return {pinned(set1(1.0f))}; }
  INLINE F far(F difference) const { return difference; }
  INLINE F logit(F difference, F tau, F logit) const {
    return fnma(tau, at_most(absolute(difference), one), logit);
  }
  INLINE F slope(F difference, F, F g, F& sum) const {
    sum = fma(g, at_most(absolute(difference), one), sum);
    return where_within(g, difference, one);
  }
};
struct Absolute {  // t = h log2 e
  static constexpr bool powers = false, folded = false;
  static INLINE Absolute make() { return {}; }
  INLINE F far(F difference) const { return difference; }
  INLINE F logit(F difference, F, F logit) const { return sub(logit, absolute(difference)); }
  INLINE F slope(F, F, F g, F&) const { return g; }
};

constexpr float kNear = 42.0f;  // of |t|: 2^(3 t) is still a number

// One vector of words in one dimension.
template <class Distance, bool Near>
struct WordSide {
  F t, c, e;
  static INLINE WordSide at(const Slice& s, int64_t place) {
    WordSide side;
    side.t = load(s.words_t + place);  // dropped by the compiler where nobody asks which side is ahead
    if constexpr (Near) {
      side.c = load(s.words_c + place);
      side.e = load(s.words_e + place);
    }
    return side;
  }
};

// A block of rows in one dimension.
struct RowSide {
  const float *t, *c, *e;
};

// What a distance makes of a pair, and a number with the sign of t_h - t_w.
template <class Distance, bool Near>
INLINE F compare(const Distance& distance, RowSide rows, int i, const WordSide<Distance, Near>& words, F tau,
                 F& ahead) {
  ahead = sub(set1(rows.t[i]), words.t);
  if constexpr (Near) {
    return distance.near(set1(rows.c[i]), set1(rows.e[i]), words.c, words.e);
  } else {
    const F value = distance.far(ahead);
    return Distance::folded ? mul(tau, value) : value;
  }
}

// Logits of a tile, base 2.
template <class Distance, bool Near>
static void distance_scores(const Job& job, const Slice& s, const float* packed, int row_blocks, int word_blocks) {
  const Distance distance = Distance::make();
  const int64_t D = job.width, step = job.word_step;
  for (int vb = 0; vb < word_blocks; ++vb)
    for (int rb = 0; rb < row_blocks; ++rb) {
      float* out = s.logits + ((int64_t)vb * job.tile_rows + rb * MR) * NB;
      for (int64_t d = 0; d < D;) {
        F sum[MR][NR];
        const F start = set1(job.inner_b[d]);
        for (int i = 0; i < MR; ++i)
          for (int j = 0; j < NR; ++j) sum[i][j] = d ? start : add(start, load(s.bias + vb * NB + j * L));
        int64_t row = (rb * D + d) * MR, word = d * step + vb * NB;
        const int64_t end = D - d < kTogether ? D : d + kTogether, first = d;
        for (; d < end; ++d, row += MR, word += step) {
          const F tau = set1(job.tau2[d]);
          WordSide<Distance, Near> words[NR];
          for (int j = 0; j < NR; ++j) words[j] = WordSide<Distance, Near>::at(s, word + j * L);
          const RowSide rows{packed + row, s.row_c + row, s.row_e + row};
          for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NR; ++j) {
              F ahead;
              sum[i][j] = distance.logit(compare(distance, rows, i, words[j], tau, ahead), tau, sum[i][j]);
            }
        }
        for (int i = 0; i < MR; ++i)
          for (int j = 0; j < NR; ++j) {
            float* to = out + i * NB + j * L;
            store(to, first ? add(sum[i][j], load(to)) : sum[i][j]);
          }
      }
    }
}

// Sums over their lanes of `count` vectors, added to numbers that lie in runs of MR, tile_rows apart.
static void add_sums(const float* vectors, int count, float* to, int tile_rows) {
  for (int n = 0; n < count; n += L) {
    F sum[L];
    for (int k = 0; k < L; ++k) sum[k] = n + k < count ? load(vectors + (int64_t)(n + k) * L) : set1(0.0f);
    for (int left = L; left > 1; left /= 2)
      for (int k = 0; k < left / 2; ++k) sum[k] = pair_sums(sum[2 * k], sum[2 * k + 1]);
    float sums[L];
    store(sums, sum[0]);
    for (int k = 0; k < L && n + k < count; ++k) to[(int64_t)((n + k) / MR) * tile_rows + (n + k) % MR] += sums[k];
  }
}

// The gradients of a tile's logits back to both sides (up to a factor of each dimension) and to tau.
template <class Distance, bool Near>
static void distance_gradients(const Job& job, const Slice& s, const float* packed, float* grad_hidden,
                               int row_blocks, int word_blocks) {
  const Distance distance = Distance::make();
  const int64_t D = job.width, step = job.word_step;
  for (int rb = 0; rb < row_blocks; ++rb) {
    int64_t row = rb * D * MR;
    for (int d = 0; d < D; ++d, row += MR) {
      const F tau = set1(job.tau2[d]);
      const RowSide rows{packed + row, s.row_c + row, s.row_e + row};
      F of_rows[MR], sum = load(s.tau_sum + d * L);
      for (int i = 0; i < MR; ++i) of_rows[i] = set1(0.0f);
      for (int vb = 0; vb < word_blocks; ++vb)
        for (int j = 0; j < NB; j += L) {
          const int64_t word = d * step + vb * NB + j;
          const float* given = s.logits + ((int64_t)vb * job.tile_rows + rb * MR) * NB + j;
          const auto words = WordSide<Distance, Near>::at(s, word);
          F of_words = load(s.grad_words_t + word);
          for (int i = 0; i < MR; ++i) {
            F ahead;
            const F value = compare(distance, rows, i, words, tau, ahead);
            const F slope = signed_by(distance.slope(value, tau, load(given + i * NB), sum), ahead);
            of_rows[i] = add(of_rows[i], slope);
            of_words = add(of_words, slope);
          }
          store(s.grad_words_t + word, of_words);
        }
      store(s.tau_sum + d * L, sum);
      for (int i = 0; i < MR; ++i) store(s.row_part + (int64_t)(d * MR + i) * L, of_rows[i]);
    }
    add_sums(s.row_part, (int)D * MR, grad_hidden + rb * MR, job.tile_rows);
  }
}

// Powers of some numbers; true if all are near.
static bool take_powers(const float* t, int64_t count, float* c, float* e) {
  const Power power = Power::make();
  const F limit = set1(kNear), one = set1(1.0f);
  F near = set1(0.0f);
  for (int64_t n = 0; n < count; n += L) {
    const F at = load(t + n), two = power(where_within(at, at, limit)), half = reciprocal(two);
    near = add(near, where_within(one, at, limit));
    store(e + n, two);
    store(c + n, mul(half, half));
  }
  return sum_of(near) == (float)((count + L - 1) / L * L);
}

// Words of a tile in their own unit, dimension by dimension; absent words are zeros. True if all are near.
template <class Distance>
static bool pack_side(const Job& job, const Slice& s, int64_t first, int count, int word_blocks) {
  const int D = job.width;
  const int64_t step = job.word_step;
  for (int v = 0; v < word_blocks * NB; v += L) {
    const int present = count - v < L ? count - v : L;
    const float* from = job.table + (first + v) * D;
    int d = 0;
    if (present == L)
      for (; d + L <= D; d += L) {
        F block[L];
        for (int i = 0; i < L; ++i) block[i] = load(from + (int64_t)i * D + d);
        transpose(block);
        for (int i = 0; i < L; ++i) store(s.words_t + (d + i) * step + v, mul(set1(job.row_scale[d + i]), block[i]));
      }
    for (; d < D; ++d)
      for (int i = 0; i < L; ++i)
        s.words_t[d * step + v + i] = i < present ? job.row_scale[d] * from[(int64_t)i * D + d] : 0.0f;
  }
  bool near = true;
  if constexpr (Distance::powers)
    for (int d = 0; d < D; ++d) {
      const int64_t at = d * step;
      near = take_powers(s.words_t + at, word_blocks * NB, s.words_c + at, s.words_e + at) && near;
      if (Distance::folded)
        for (int v = 0; v < word_blocks * NB; v += L)
          store(s.words_e + at + v, mul(set1(job.tau2[d]), load(s.words_e + at + v)));
    }
  return near;
}

// The gradient of the tile's words into the table's (added to it after the first block), and its product with the
// words, which is their share of the gradient of a.
static void unpack_side(const Job& job, const Slice& s, int64_t first, int count) {
  const int D = job.width;
  const int64_t step = job.word_step;
  for (int d0 = 0; d0 < D; d0 += L) {
    const int dims = D - d0 < L ? D - d0 : L;
    float products[L] = {};
    for (int v = 0; v < count; v += L) {
      const int present = count - v < L ? count - v : L;
      F block[L];
      for (int i = 0; i < L; ++i) block[i] = load(s.grad_words_t + (d0 + (i < dims ? i : 0)) * step + v);
      transpose(block);
      for (int i = 0; i < present; ++i) {
        float grad[L];
        store(grad, block[i]);
        const int64_t at = (first + v + i) * D + d0;
        for (int k = 0; k < dims; ++k) {
          products[k] += grad[k] * job.table[at + k];
          const float value = job.word_scale[d0 + k] * grad[k];
          if (job.want_words) job.grad_table[at + k] = job.first_block ? value : job.grad_table[at + k] + value;
        }
      }
    }
    for (int k = 0; k < dims; ++k) s.grad_b[d0 + k] += products[k];
  }
}

static bool near_rows(const Slice& s, const float* packed, int64_t count) {
  const int64_t whole = count / L * L;
  const bool near = take_powers(packed, whole, s.row_c, s.row_e);
  if (whole == count) return near;
  float last[L] = {}, c[L], e[L];
  memcpy(last, packed + whole, sizeof(float) * (count - whole));
  const bool also = take_powers(last, L, c, e);
  memcpy(s.row_c + whole, c, sizeof(float) * (count - whole));
  memcpy(s.row_e + whole, e, sizeof(float) * (count - whole));
  return near && also;
}

template <class Distance>
static void distance_forward(const Job& job, const Slice& s) {
  start_statistics(job, s);
  for (int64_t v = s.first_word; v < s.last_word; v += job.tile_words) {
    const int count = (int)(s.last_word - v < job.tile_words ? s.last_word - v : job.tile_words);
    const int word_blocks = (count + NB - 1) / NB;
    const bool near_words = pack_side<Distance>(job, s, v, count, word_blocks);
    pack_bias(job, s, v, count, word_blocks);
    for (int r = 0; r < job.rows; r += job.tile_rows) {
      const int rows = job.rows - r < job.tile_rows ? job.rows - r : job.tile_rows, row_blocks = (rows + MR - 1) / MR;
      const float* packed = job.packed + (int64_t)r * job.width;
      if constexpr (Distance::powers) {
        if (near_words && near_rows(s, packed, (int64_t)row_blocks * MR * job.width))
          distance_scores<Distance, true>(job, s, packed, row_blocks, word_blocks);
        else
          distance_scores<Distance, false>(job, s, packed, row_blocks, word_blocks);
      } else {
        distance_scores<Distance, false>(job, s, packed, row_blocks, word_blocks);
      }
      gather_statistics(job, s, r, rows, v, count, word_blocks);
    }
  }
}

template <class Distance, bool Near>
static void distance_back(const Job& job, const Slice& s, int r, int row_blocks, int64_t first, int count,
                          int word_blocks) {
  const float* packed = job.packed + (int64_t)r * job.width;
  distance_scores<Distance, Near>(job, s, packed, row_blocks, word_blocks);
  logit_gradients(job, s, r, row_blocks, first, count, word_blocks);
  distance_gradients<Distance, Near>(job, s, packed, s.grad_hidden + (int64_t)r * job.width, row_blocks, word_blocks);
}

template <class Distance>
static void distance_backward(const Job& job, const Slice& s) {
  const int D = job.width, tiles = (job.rows + job.tile_rows - 1) / job.tile_rows;
  memset(s.grad_hidden, 0, sizeof(float) * tiles * job.tile_rows * D);
  for (int d = 0; d < D; ++d) s.grad_tau[d] = s.grad_b[d] = 0.0;
  *s.grad_sum = 0.0;
  for (int64_t v = s.first_word; v < s.last_word; v += job.tile_words) {
    const int count = (int)(s.last_word - v < job.tile_words ? s.last_word - v : job.tile_words);
    const int word_blocks = (count + NB - 1) / NB;
    const bool near_words = pack_side<Distance>(job, s, v, count, word_blocks);
    pack_bias(job, s, v, count, word_blocks);
    memset(s.grad_words_t, 0, sizeof(float) * job.word_step * D);
    memset(s.grad_bias, 0, sizeof(float) * word_blocks * NB);
    for (int r = 0; r < job.rows; r += job.tile_rows) {
      const int rows = job.rows - r < job.tile_rows ? job.rows - r : job.tile_rows, row_blocks = (rows + MR - 1) / MR;
      memset(s.tau_sum, 0, sizeof(float) * D * L);
      bool near = false;
      if constexpr (Distance::powers) {
        near = near_words &&
               near_rows(s, job.packed + (int64_t)r * D, (int64_t)row_blocks * MR * D);
        if (near) distance_back<Distance, true>(job, s, r, row_blocks, v, count, word_blocks);
      }
      if (!near) distance_back<Distance, false>(job, s, r, row_blocks, v, count, word_blocks);
      for (int d = 0; d < D; ++d) s.grad_tau[d] += sum_of(load(s.tau_sum + d * L));
    }
    unpack_side(job, s, v, count);
    for (int i = 0; i < count; ++i) {
      *s.grad_sum += s.grad_bias[i];
      if (job.grad_bias) job.grad_bias[v + i] = (job.first_block ? 0.0f : job.grad_bias[v + i]) + s.grad_bias[i];
    }
  }
}
