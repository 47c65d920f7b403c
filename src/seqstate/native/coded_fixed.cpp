// Byte permutations look up four groups of sixteen words at once; a dot product with ones adds the four.
#include "coded_fixed.h"

#include <math.h>

#include "coded_job.h"
#include "inline.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vbmi,avx512vnni")))

namespace seqstate {

namespace {

constexpr int kPlanes = 3;
constexpr double kLargest = (1 << 24) - 1;
constexpr int kMostGroups = 256;  // of such numbers that 32 bits can add up

// Sums of the three bytes of sixteen words' numbers. Members, not an array: an array is kept in memory.
struct Sums {
  __m512i low, middle, high;
};

// sum += what the bytes of x add up to in every 32 bits.
TARGET INLINE void add_bytes(__m512i& sum, __m512i x) { sum = _mm512_dpbusd_epi32(sum, x, _mm512_set1_epi8(1)); }

TARGET INLINE void add_groups(Sums& sum, const uint32_t* codes, const __m512i* planes) {
  const __m512i mask = _mm512_set1_epi8(15), place = _mm512_set1_epi32(0x30201000);
  const __m512i both = _mm512_loadu_si512(codes);
  const __m512i even = _mm512_ternarylogic_epi32(both, mask, place, 0xea);  // (both & mask) | place
  const __m512i odd = _mm512_ternarylogic_epi32(_mm512_srli_epi32(both, 4), mask, place, 0xea);
  add_bytes(sum.low, _mm512_permutexvar_epi8(even, planes[0]));
  add_bytes(sum.middle, _mm512_permutexvar_epi8(even, planes[2]));
  add_bytes(sum.high, _mm512_permutexvar_epi8(even, planes[4]));
  add_bytes(sum.low, _mm512_permutexvar_epi8(odd, planes[1]));
  add_bytes(sum.middle, _mm512_permutexvar_epi8(odd, planes[3]));
  add_bytes(sum.high, _mm512_permutexvar_epi8(odd, planes[5]));
}

TARGET INLINE void write_logits(const FixedTables& t, const Sums& sum, const float* bias, float* out, int count) {
  if (count <= 0) return;
  const __mmask16 which = count >= 16 ? 0xffff : (__mmask16)((1 << count) - 1);
  const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sum.high, 8), sum.middle);
  const __m512 whole = _mm512_cvtepu32_ps(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), sum.low));
  __m512 logit = _mm512_fmadd_ps(whole, _mm512_set1_ps(t.scale), _mm512_set1_ps(t.least));
  if (bias) logit = _mm512_add_ps(logit, _mm512_maskz_loadu_ps(which, bias));
  _mm512_mask_storeu_ps(out, which, logit);
}

}  // namespace

bool can_scan_fixed() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

TARGET bool fix_tables(FixedTables& t) {
  if (t.groups > kMostGroups) return false;
  float range = 0.0f;
  double least = 0.0;
  __m512 checked = _mm512_setzero_ps();
  for (int g = 0; g < t.groups; ++g) {
    const __m512 numbers = _mm512_loadu_ps(t.numbers + g * kScanCodes);
    const float low = _mm512_reduce_min_ps(numbers), width = _mm512_reduce_max_ps(numbers) - low;
    range = width > range ? width : range;
    least += low;
    checked = _mm512_fmadd_ps(numbers, _mm512_setzero_ps(), checked);  // a NaN from what is not finite
  }
  t.least = (float)least;
  t.scale = (float)(range / kLargest);
  if (_mm512_reduce_add_ps(checked) != 0.0f || !isfinite(t.least) || !isfinite(t.scale)) return false;
  const __m512d by = _mm512_set1_pd(t.scale > 0.0f ? 1.0 / t.scale : 0.0), most = _mm512_set1_pd(kLargest);
  for (int g = 0; g < t.groups; ++g) {
    const float* of_group = t.numbers + g * kScanCodes;
    const __m512d low = _mm512_set1_pd(_mm512_reduce_min_ps(_mm512_loadu_ps(of_group)));
    __m256i halves[2];
    for (int half = 0; half < 2; ++half) {
      const __m512d numbers = _mm512_cvtps_pd(_mm256_loadu_ps(of_group + 8 * half));
      halves[half] = _mm512_cvtpd_epi32(_mm512_min_pd(_mm512_mul_pd(_mm512_sub_pd(numbers, low), by), most));
    }
    const __m512i fixed = _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1);
    const int in_chunk = g % kScanGroups;
    uint8_t* to = t.planes + (g - in_chunk) * fixed_bytes(1) + 64 * (in_chunk % 2) + kScanCodes * (in_chunk / 2);
    for (int p = 0; p < kPlanes; ++p)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 128 * p), _mm512_cvtepi32_epi8(_mm512_srli_epi32(fixed, 8 * p)));
  }
  return true;
}

TARGET void scan_fixed(const FixedTables& t, int64_t words, const uint32_t* codes, const float* bias, float* out) {
  const int chunks = t.groups / kScanGroups;
  for (int64_t v = 0; v < words; v += kScanWords) {
    const __m512i zero = _mm512_setzero_si512();
    Sums a{zero, zero, zero}, b = a, c = a, d = a;  // of kScanWords words
    const __m512i* planes = reinterpret_cast<const __m512i*>(t.planes);
    for (int chunk = 0; chunk < chunks; ++chunk, codes += kScanWords, planes += 2 * kPlanes) {
      add_groups(a, codes, planes);
      add_groups(b, codes + 16, planes);
      add_groups(c, codes + 32, planes);
      add_groups(d, codes + 48, planes);
    }
    const int left = words - v < kScanWords ? (int)(words - v) : kScanWords;
    const float* of_words = bias ? bias + v : nullptr;
    write_logits(t, a, of_words, out + v, left);
    write_logits(t, b, of_words ? of_words + 16 : nullptr, out + v + 16, left - 16);
    write_logits(t, c, of_words ? of_words + 32 : nullptr, out + v + 32, left - 32);
    write_logits(t, d, of_words ? of_words + 48 : nullptr, out + v + 48, left - 48);
  }
}

}  // namespace seqstate

#else

namespace seqstate {
bool can_scan_fixed() { return false; }
bool fix_tables(FixedTables&) { return false; }
void scan_fixed(const FixedTables&, int64_t, const uint32_t*, const float*, float*) {}
}  // namespace seqstate

#endif
