#include "slots.h"

#include "work.h"

namespace seqstate {
namespace {

// Shares out rows and heads; every thread has its own memory.
template <class Work>
int64_t shared_out(const Slots& p, const Isa& isa, int threads, const Work& work) {
  const int64_t rows = p.batch * p.heads;
  if (threads > rows) threads = (int)(rows > 0 ? rows : 1);
  const int64_t wide = round_up(p.width, isa.lanes), held = round_up(2 * p.slots * wide, 16);
  const int64_t tokens = kSlotPiece * wide + 48, pairs = (int64_t)kSlotPiece * p.slots;
  const int64_t states = round_up((kSlotPiece + 1) * 2 * wide, 16);
  Arena arena(threads * (2 * held + 8 * tokens + 3 * pairs + states) + 16);
  if (!arena.ok()) return 1;
  std::vector<SlotsShare> shares;
  for (int t = 0; t < threads; ++t) {
    SlotsShare s{};
    s.first = rows * t / threads;
    s.last = rows * (t + 1) / threads;
    for (float** part : {&s.held, &s.to_held}) *part = arena.take(held);
    for (float** part : {&s.query, &s.key, &s.value, &s.mixed, &s.to_query, &s.to_key, &s.to_value, &s.to_mixed})
      *part = arena.take(tokens);
    for (float** part : {&s.write, &s.scores, &s.share}) *part = arena.take(pairs);
    s.states = arena.take(states);
    shares.push_back(s);
  }
  fork_join(threads, [&](int t) { work(shares[t]); });
  return 0;
}

}  // namespace

int64_t slots_mix(const Slots& p, const Isa& isa, int threads, const SlotsMixed& out) {
  return shared_out(p, isa, threads, [&](const SlotsShare& mine) { isa.mix(p, mine, out); });
}

int64_t slots_mix_back(const Slots& p, const Isa& isa, int threads, const SlotsBack& out) {
  return shared_out(p, isa, threads, [&](const SlotsShare& mine) { isa.mix_back(p, mine, out); });
}

}  // namespace seqstate
