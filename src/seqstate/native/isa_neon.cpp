// The kernels for NEON on 64-bit ARM.
#include "job.h"

#include <math.h>
#include <string.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#define SEQSTATE_NAMESPACE neon
#define SEQSTATE_VEC "vec_neon.h"
#include "isa.h"

#endif
