// One thread's share of a pass, whatever the kind. Included once per instruction set.
#pragma once

static void forward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return forward_slice<Identity>(job, s);
    case kSigmoid: return forward_slice<Sigmoid>(job, s);
    case kClampedLinear: return forward_slice<ClampedLinear>(job, s);
    case kPeak: return forward_slice<Peak>(job, s);
    case kTanh: return distance_forward<Tanh>(job, s);
    case kExponential: return distance_forward<Exponential>(job, s);
    case kClipped: return distance_forward<Clipped>(job, s);
    case kAbsolute: return distance_forward<Absolute>(job, s);
    default: return forward_slice<Rational>(job, s);
  }
}

static void backward(const Job& job, const Slice& s) {
  switch (job.kind) {
    case kInner: return backward_slice<Identity>(job, s);
    case kSigmoid: return backward_slice<Sigmoid>(job, s);
    case kClampedLinear: return backward_slice<ClampedLinear>(job, s);
    case kPeak: return backward_slice<Peak>(job, s);
    case kTanh: return distance_backward<Tanh>(job, s);
    case kExponential: return distance_backward<Exponential>(job, s);
    case kClipped: return distance_backward<Clipped>(job, s);
    case kAbsolute: return distance_backward<Absolute>(job, s);
    default: return backward_slice<Rational>(job, s);
  }
}

