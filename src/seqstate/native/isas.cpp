#include "driver.h"

namespace seqstate {

namespace scalar { extern const Isa isa; }
#if defined(__x86_64__) && defined(__GNUC__)
namespace avx2 { extern const Isa isa; }
namespace avx512 { extern const Isa isa; }
#elif defined(__aarch64__)
namespace neon { extern const Isa isa; }
#endif

int available_isas(const Isa** found, int room) {
  int count = 0;
  auto offer = [&](const Isa& isa) {
    if (count < room) found[count++] = &isa;
  };
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool two = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (two && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    offer(avx512::isa);
  if (two) offer(avx2::isa);
#elif defined(__aarch64__)
  offer(neon::isa);
#endif
  offer(scalar::isa);
  return count;
}

}  // namespace seqstate
