#include "plan.h"

#include <algorithm>

#include "work.h"

namespace seqstate {

namespace {

constexpr int64_t kTileBytes = 448 << 10;  // one thread's tiles stay in its second-level cache

int64_t tile_floats(const Plan& plan, const Problem& p, bool backward) {
  const int64_t tile = (int64_t)plan.tile_rows * plan.tile_words;
  if (plan.distance) {
    const int64_t D = p.width, planes = (plan.powers ? 3 : 1) + (backward ? 1 : 0);
    int64_t of_rows = plan.powers ? 2 * (int64_t)plan.tile_rows : 0;
    if (backward) of_rows += (plan.row_block + 1) * plan.lanes;
    return tile + D * (planes * (plan.tile_words + kLine) + of_rows) + 2 * (int64_t)plan.tile_words + 16 * 14;
  }
  int64_t floats = (int64_t)plan.tile_words * (p.width + plan.pairs + 2) + tile;
  if (plan.peaks) floats += 2 * (int64_t)plan.tile_words * p.groups + (int64_t)plan.tile_rows * plan.lanes;
  if (backward) {
    floats += (int64_t)plan.tile_words * (p.width + plan.wide);
    if (plan.groups || plan.bf16) floats += tile;
    if (plan.groups) floats += tile * 2 * (int64_t)p.groups;
  }
  return floats + 16 * 12;  // every part starts on a cache line
}

}  // namespace

Plan make_plan(const Problem& p, const Isa& isa, int threads, bool backward) {
  Plan plan;
  plan.lanes = isa.lanes;
  plan.groups = p.kind != kInner;
  plan.peaks = p.kind == kPeak;
  plan.distance = is_distance(p.kind);
  plan.powers = takes_powers(p.kind);
  const bool products = !plan.distance && !plan.peaks, paired = p.width / p.groups > 1;
  plan.bf16 = p.bfloat16 && products && paired ? bf16_passes(isa) : nullptr;
  plan.pairs = plan.bf16 ? (p.width / p.groups + 1) / 2 * p.groups : 0;
  plan.row_pairs = plan.bf16 && backward ? (p.width + 1) / 2 : 0;
  plan.row_block = isa.row_block;
  plan.smoothing = p.smoothing != 0.0;
  plan.wide = padded_group(p.width / p.groups, isa.lanes) * p.groups;
  // of distances, a tile of words is read once for each register block of rows, so it may be longer
  plan.tile_rows = plan.distance ? 9 * isa.row_block : 2 * isa.row_multiple;
  plan.tile_words = std::max(plan.distance ? 512 : 128, isa.word_block);
  while (plan.tile_words > isa.word_block && plan.tile_words > 64 &&
         tile_floats(plan, p, backward) * 4 > kTileBytes)
    plan.tile_words /= 2;
  if (!plan.distance && tile_floats(plan, p, backward) * 4 > kTileBytes) plan.tile_rows = isa.row_multiple;
  while (plan.tile_words > isa.word_block && tile_floats(plan, p, backward) * 4 > kTileBytes)
    plan.tile_words /= 2;
  plan.word_step = plan.tile_words + kLine;
  const int64_t tiles = (p.words + plan.tile_words - 1) / plan.tile_words;
  plan.threads = (int)std::max<int64_t>(1, std::min<int64_t>(threads, tiles));
  const int64_t per_thread =
      backward ? plan.wide + (plan.peaks ? p.groups : 0) : 1 + plan.lanes * (plan.smoothing ? 2 : 1);
  const int64_t shared_row = p.width + plan.pairs + plan.row_pairs + 8 + (plan.peaks ? p.groups : 0);
  const int64_t row_floats = shared_row + plan.threads * per_thread;
  int64_t rows = std::max<int64_t>(kRowBytes / 4 / row_floats / plan.tile_rows, 1) * plan.tile_rows;
  plan.block_rows = (int)std::min<int64_t>(rows, round_up(p.rows, plan.tile_rows));
  plan.shared_floats = (int64_t)plan.block_rows * shared_row + p.width + 16 * 16 +
                       (5 + plan.block_rows / plan.tile_rows) * (int64_t)p.groups;
  plan.slice_floats = tile_floats(plan, p, backward) + plan.block_rows * per_thread + 5 * p.groups + 2 + 16 * 6;
  return plan;
}

int64_t workspace_bytes(const Problem& p, const Isa& isa, int threads, bool backward) {
  const Plan plan = make_plan(p, isa, threads, backward);
  return 4 * (plan.shared_floats + plan.threads * plan.slice_floats) + 64;
}

}  // namespace seqstate
