// The Python side of the drivers: addresses and sizes in, nothing copied, the interpreter lock released.
//
// Callers pass addresses of contiguous float32 (and int64) memory that outlives the call, and 0 for
// "absent". Sizes are checked by the Python wrapper, not here. Numbers are read one after another in the order in
// which `read` below names them.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <new>
#include <type_traits>
#include <vector>

#include "coded_driver.h"
#include "coded_fixed.h"
#include "driver.h"
#include "heads.h"
#include "mismatches.h"
#include "shortlist.h"
#include "slots.h"

namespace {

using seqstate::Isa;

constexpr int kMostIsas = 4;
const Isa* isas[kMostIsas];
int isa_count = 0;

// A tuple of numbers, taken in order, each as the type that it goes into. Errors are Python's own, and the first one
// stays.
class Arguments {
 public:
  explicit Arguments(PyObject* tuple) : tuple_(tuple) {}

  template <class... T>
  Arguments& take(T&... to) {
    (one(to), ...);
    return *this;
  }

  // All were right, and none is left.
  bool done() const {
    const bool left = !PyErr_Occurred() && next_ != PyTuple_Size(tuple_);
    if (left) PyErr_SetString(PyExc_TypeError, "too many arguments");
    return !PyErr_Occurred();
  }

 private:
  template <class T>
  void one(T& to) {
    PyObject* from = PyErr_Occurred() ? nullptr : PyTuple_GetItem(tuple_, next_++);
    if (!from) return;
    if constexpr (std::is_same_v<T, const Isa*>) {
      const long index = PyLong_AsLong(from);
      if (index >= 0 && index < isa_count)
        to = isas[index];
      else if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "no instruction set number %ld on this machine", index);
    } else if constexpr (std::is_pointer_v<T>) {
      to = reinterpret_cast<T>(static_cast<uintptr_t>(PyLong_AsUnsignedLongLong(from)));
    } else if constexpr (std::is_same_v<T, seqstate::Strides>) {
      Arguments(from).take(to.batch, to.time, to.head);
    } else if constexpr (std::is_same_v<T, bool>) {
      to = PyObject_IsTrue(from) == 1;
    } else if constexpr (std::is_floating_point_v<T>) {
      to = PyFloat_AsDouble(from);
    } else {
      const long long value = PyLong_AsLongLong(from);
      to = static_cast<T>(value);
      if (to != value) PyErr_SetString(PyExc_OverflowError, "a number is too large");
    }
  }

  PyObject* tuple_;
  Py_ssize_t next_ = 0;
};

void read(Arguments& in, seqstate::Problem& p) {
  in.take(p.kind, p.rows, p.words, p.width, p.groups, p.hidden, p.table, p.bias, p.tau, p.a, p.b, p.targets, p.ignore,
          p.smoothing, p.z_loss, p.first, p.vocabulary, p.bfloat16);
}

void read(Arguments& in, seqstate::CodedProblem& p) {
  in.take(p.rows, p.words, p.groups, p.codes, p.tables, p.code, p.bias, p.targets, p.ignore, p.smoothing, p.z_loss);
}

void read(Arguments& in, seqstate::Slots& p) {
  in.take(p.batch, p.time, p.heads, p.slots, p.width, p.query, p.key, p.value, p.write, p.held);
}

void read(Arguments& in, seqstate::Heads& p) {
  in.take(p.batch, p.time, p.heads, p.shared, p.width, p.unit, p.gain, p.turn, p.turn_stride);
}

void read(Arguments& in, seqstate::ShortWords& p) {
  in.take(p.words, p.groups, p.quads, p.numbers, p.scale, p.error, p.length, p.bias, p.most_bias);
}

void read(Arguments& in, seqstate::ShortEnergy& p) { in.take(p.kind, p.tau, p.a, p.b); }

void read(Arguments& in, seqstate::Forward& to) { in.take(to.nll, to.lse_max, to.lse_log); }

void read(Arguments& in, seqstate::Backward& to) {
  in.take(to.grad_nll, to.lse_max, to.lse_log, to.hidden, to.table, to.bias, to.tau, to.a, to.b);
}

void read(Arguments& in, seqstate::CodedBackward& to) {
  in.take(to.grad_nll, to.lse_max, to.lse_log, to.tables, to.bias);
}

void read(Arguments& in, seqstate::SlotsMixed& to) { in.take(to.mixed, to.after, to.share, to.marks); }

void read(Arguments& in, seqstate::SlotsBack& to) {
  in.take(to.share, to.marks, to.to_mixed, to.to_after, to.to_query, to.to_key, to.to_value, to.to_write, to.to_held);
}

template <class Work>
auto released(const Work& work) {
  PyThreadState* state = PyEval_SaveThread();
  const auto result = work();
  PyEval_RestoreThread(state);
  return result;
}

PyObject* outcome(int64_t status) { return status == 1 ? PyErr_NoMemory() : PyLong_FromLongLong(status); }

// A pass of a driver: instruction set, threads, problem, results.
template <auto pass>
struct Pass;

template <class Problem, class Results, int64_t (*pass)(const Problem&, const Isa&, int, const Results&)>
struct Pass<pass> {
  static PyObject* run(PyObject*, PyObject* args) {
    Arguments in(args);
    const Isa* isa = nullptr;
    int threads = 1;
    Problem problem{};
    Results results{};
    in.take(isa, threads);
    read(in, problem);
    read(in, results);
    if (!in.done()) return nullptr;
    return outcome(released([&] { return pass(problem, *isa, threads, results); }));
  }
};

PyObject* workspace(PyObject*, PyObject* args) {
  Arguments in(args);
  const Isa* isa = nullptr;
  int threads = 1;
  bool backward = false;
  seqstate::Problem p{};
  in.take(isa, threads, p.kind, p.rows, p.words, p.width, p.groups, p.smoothing, p.bfloat16,
          backward);
  return in.done() ? PyLong_FromLongLong(seqstate::workspace_bytes(p, *isa, threads, backward)) : nullptr;
}

PyObject* coded_workspace(PyObject*, PyObject* args) {
  Arguments in(args);
  const Isa* isa = nullptr;
  int threads = 1;
  bool backward = false;
  seqstate::CodedProblem p{};
  in.take(isa, threads);
  read(in, p);
  in.take(backward);
  return in.done() ? PyLong_FromLongLong(seqstate::coded_workspace_bytes(p, *isa, threads, backward)) : nullptr;
}

PyObject* coded_logits(PyObject*, PyObject* args) {
  Arguments in(args);
  const Isa* isa = nullptr;
  int threads = 1;
  seqstate::CodedProblem p{};
  const uint32_t* packed = nullptr;
  bool fixed = false;
  float* logits = nullptr;
  in.take(isa, threads);
  read(in, p);
  in.take(packed, fixed, logits);
  if (!in.done()) return nullptr;
  return outcome(released([&] { return seqstate::coded_logits(p, *isa, packed, fixed, logits); }));
}

PyObject* multiplies_bfloat16(PyObject*, PyObject* args) {
  Arguments in(args);
  const Isa* isa = nullptr;
  in.take(isa);
  return in.done() ? PyBool_FromLong(seqstate::bf16_passes(*isa) != nullptr) : nullptr;
}

PyObject* can_scan_fixed(PyObject*, PyObject*) { return PyBool_FromLong(seqstate::can_scan_fixed()); }

PyObject* scan_size(PyObject*, PyObject* args) {
  Arguments in(args);
  int64_t words = 0;
  int groups = 0;
  in.take(words, groups);
  return in.done() ? PyLong_FromLongLong(seqstate::scan_size(words, groups)) : nullptr;
}

PyObject* pack_scan(PyObject*, PyObject* args) {
  Arguments in(args);
  int64_t words = 0;
  int groups = 0;
  const uint8_t* code = nullptr;
  uint32_t* packed = nullptr;
  in.take(words, groups, code, packed);
  if (!in.done()) return nullptr;
  seqstate::pack_scan(words, groups, code, packed);
  Py_RETURN_NONE;
}

PyObject* split_heads(PyObject*, PyObject* args) {
  Arguments in(args);
  seqstate::Heads p{};
  const float* projected = nullptr;
  float *query = nullptr, *key = nullptr, *value = nullptr, *factor = nullptr;
  read(in, p);
  in.take(projected, query, key, value, factor);
  if (!in.done()) return nullptr;
  Py_BEGIN_ALLOW_THREADS
  seqstate::split_heads(p, projected, query, key, value, factor);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

PyObject* split_heads_back(PyObject*, PyObject* args) {
  Arguments in(args);
  seqstate::Heads p{};
  const float* grads[3] = {};
  seqstate::Strides strides[3] = {};
  const float *query = nullptr, *key = nullptr, *factor = nullptr;
  float* projected = nullptr;
  double* along = nullptr;
  read(in, p);
  for (int i = 0; i < 3; ++i) in.take(grads[i], strides[i]);
  in.take(query, key, factor, projected, along);
  if (!in.done()) return nullptr;
  Py_BEGIN_ALLOW_THREADS
  seqstate::split_heads_back(p, grads, strides, query, key, factor, projected, along);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

using Found = std::vector<std::vector<int64_t>>;

// Words of each row as bytes, eight a word.
PyObject* lists(const Found& found) {
  PyObject* list = PyList_New(found.size());
  for (size_t r = 0; list && r < found.size(); ++r) {
    const char* bytes = reinterpret_cast<const char*>(found[r].data());
    PyObject* of_row = PyByteArray_FromStringAndSize(bytes, 8 * found[r].size());
    if (!of_row || PyList_SetItem(list, r, of_row) < 0) {
      Py_DECREF(list);
      return nullptr;
    }
  }
  return list;
}

PyObject* shortlists(PyObject*, PyObject* args) {
  Arguments in(args);
  const Isa* isa = nullptr;
  seqstate::ShortWords words{};
  seqstate::ShortEnergy energy{};
  int64_t rows = 0, k = 0;
  int width = 0;
  const float* row = nullptr;
  in.take(isa);
  read(in, words);
  read(in, energy);
  in.take(rows, width, row, k);
  if (!in.done()) return nullptr;
  Found found;
  bool finite = true;
  const bool whole = released([&]() noexcept {
    try {
      finite = seqstate::shortlists(words, energy, *isa, rows, width, row, k, found);
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  });
  if (whole && !finite) Py_RETURN_NONE;
  return whole ? lists(found) : PyErr_NoMemory();
}

PyObject* few_mismatches(PyObject*, PyObject* args) {
  Arguments in(args);
  int64_t words = 0, rows = 0;
  int chunks = 0;
  const uint64_t *codes = nullptr, *bits = nullptr, *counted = nullptr;
  const int64_t* most = nullptr;
  in.take(words, chunks, codes, rows, bits, counted, most);
  if (!in.done()) return nullptr;
  Found found;
  const bool whole = released([&]() noexcept {
    try {
      seqstate::few_mismatches(words, chunks, codes, rows, bits, counted, most, found);
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  });
  return whole ? lists(found) : PyErr_NoMemory();
}

PyObject* names(PyObject*, PyObject*) {
  PyObject* list = PyList_New(isa_count);
  for (int i = 0; list && i < isa_count; ++i) {
    PyObject* name = PyUnicode_FromString(isas[i]->name);
    if (!name || PyList_SetItem(list, i, name) < 0) {
      Py_DECREF(list);
      return nullptr;
    }
  }
  return list;
}

PyObject* poison(PyObject*, PyObject* on) {
  const int wanted = PyObject_IsTrue(on);
  if (wanted < 0) return nullptr;
  seqstate::poison = wanted != 0;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"forward", Pass<seqstate::forward>::run, METH_VARARGS, "Losses and log-sum-exps; 0, or -1 - row of a target out of range."},
    {"backward", Pass<seqstate::backward>::run, METH_VARARGS, "Gradients of everything whose address is not 0."},
    {"workspace", workspace, METH_VARARGS, "Bytes of working memory of one call."},
    {"coded_forward", Pass<seqstate::coded_forward>::run, METH_VARARGS, "As forward, for words that are codes."},
    {"coded_backward", Pass<seqstate::coded_backward>::run, METH_VARARGS, "As backward, for words that are codes."},
    {"coded_workspace", coded_workspace, METH_VARARGS, "As workspace, for words that are codes."},
    {"coded_logits", coded_logits, METH_VARARGS, "Logits of all words that are codes."},
    {"multiplies_bfloat16", multiplies_bfloat16, METH_VARARGS, "Whether an instruction set has products of bfloat16 here."},
    {"can_scan_fixed", can_scan_fixed, METH_NOARGS, "Whether logits can be added up in fixed point here."},
    {"scan_size", scan_size, METH_VARARGS, "Numbers of 32 bits that packed codes take."},
    {"pack_scan", pack_scan, METH_VARARGS, "Codes as a scan reads them."},
    {"split_heads", split_heads, METH_VARARGS, "Queries, keys and values of a projection."},
    {"split_heads_back", split_heads_back, METH_VARARGS, "Gradient of the projection."},
    {"slots_mix", Pass<seqstate::slots_mix>::run, METH_VARARGS, "What slots give each token, and what they hold after the last."},
    {"slots_mix_back", Pass<seqstate::slots_mix_back>::run, METH_VARARGS, "Gradients of tokens, writes and slots."},
    {"shortlists", shortlists, METH_VARARGS, "Words of each row that may be among its k largest; None for a row that is not finite."},
    {"few_mismatches", few_mismatches, METH_VARARGS, "Words of each row whose bits differ in few places."},
    {"isas", names, METH_NOARGS, "Instruction sets this machine can run, best first."},
    {"poison", poison, METH_O, "For tests: fill working memory with NaN first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_fused", "Fused cross-entropies, and the cutting of attention heads.", -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__fused() {
  isa_count = seqstate::available_isas(isas, kMostIsas);
  return PyModule_Create(&definition);
}
