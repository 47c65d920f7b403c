// The kernels for any processor.
#include "job.h"

#include <math.h>
#include <string.h>


#define SEQSTATE_NAMESPACE scalar
#define SEQSTATE_VEC "vec_scalar.h"
#include "isa.h"

