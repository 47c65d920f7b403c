// Compiles the kernels below an `#include` for one instruction set, whatever the command line says.
//
// A file defines SEQSTATE_VEC (its vec_*.h) and SEQSTATE_NAMESPACE, sets the target, and includes
// this. No function of the standard library is instantiated here: a copy compiled for
// AVX-512 could be the one the linker keeps for everybody.
#include "inline.h"

namespace seqstate {
namespace SEQSTATE_NAMESPACE {
#include SEQSTATE_VEC
#define SEQSTATE_PRODUCTS "products.h"
#define SEQSTATE_GRADIENTS "gradients.h"
#include "tile.h"
#include "pack.h"
#include "statistics.h"
#include "slice.h"
#include "passes.h"
#include "distance.h"
#include "coded.h"
#include "slot_steps.h"
#include "shortlist_bounds.h"

static void forward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kPeak: return forward_slice<Peak>(job, s);
    case kTanh: return distance_forward<Tanh>(job, s);
    case kExponential: return distance_forward<Exponential>(job, s);
    case kClipped: return distance_forward<Clipped>(job, s);
    case kAbsolute: return distance_forward<Absolute>(job, s);
    default: return product_forward(job, s);
  }
}

static void backward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kPeak: return backward_slice<Peak>(job, s);
    case kTanh: return distance_backward<Tanh>(job, s);
    case kExponential: return distance_backward<Exponential>(job, s);
    case kClipped: return distance_backward<Clipped>(job, s);
    case kAbsolute: return distance_backward<Absolute>(job, s);
    default: return product_backward(job, s);
  }
}

extern const Isa isa;
const Isa isa = {NAME, L, MR, NB, 48, forward, backward, coded_forward, coded_backward, scan, mix, mix_back, bounds};
}  // namespace SEQSTATE_NAMESPACE
}  // namespace seqstate
