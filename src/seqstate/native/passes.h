// One thread's share of a pass over products, whatever the activation. Included once per instruction set.
#pragma once

static void product_forward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return forward_slice<Identity>(job, s);
    case kSigmoid: return forward_slice<Sigmoid>(job, s);
    case kClampedLinear: return forward_slice<ClampedLinear>(job, s);
    default: return forward_slice<Rational>(job, s);
  }
}

static void product_backward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return backward_slice<Identity>(job, s);
    case kSigmoid: return backward_slice<Sigmoid>(job, s);
    case kClampedLinear: return backward_slice<ClampedLinear>(job, s);
    default: return backward_slice<Rational>(job, s);
  }
}
