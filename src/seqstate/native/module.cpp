// The Python side of the driver: addresses and sizes in, nothing copied, the interpreter lock released.
//
// Callers pass addresses of contiguous float32 (and int64) memory that outlives the call, and 0 for
// "absent". Sizes are checked by the Python wrapper, not here.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "coded_driver.h"
#include "driver.h"
#include "heads.h"
#include "slots.h"

namespace {

using seqstate::Isa;

constexpr int kMostIsas = 4;
const Isa* isas[kMostIsas];
int isa_count = 0;

template <class T>
T* pointer(unsigned long long address) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(address));
}

const Isa* chosen(int index) {
  if (index >= 0 && index < isa_count) return isas[index];
  PyErr_Format(PyExc_ValueError, "no instruction set number %d on this machine", index);
  return nullptr;
}

// The arguments common to both passes, in this order.
struct Call {
  int isa, threads;
  seqstate::Problem problem;
  unsigned long long hidden, table, bias, tau, a, b, targets;
  long long rows, words, ignore, first, vocabulary;

  void finish() {
    problem.rows = rows;
    problem.words = words;
    problem.ignore = ignore;
    problem.first = first;
    problem.vocabulary = vocabulary;
    problem.hidden = pointer<const float>(hidden);
    problem.table = pointer<const float>(table);
    problem.bias = pointer<const float>(bias);
    problem.tau = pointer<const float>(tau);
    problem.a = pointer<const float>(a);
    problem.b = pointer<const float>(b);
    problem.targets = pointer<const int64_t>(targets);
  }
};

#define CALL_FORMAT "iiiLLiiKKKKKKKLddLL"
#define CALL_FIELDS(c)                                                                              \
  &c.isa, &c.threads, &c.problem.kind, &c.rows, &c.words, &c.problem.width, &c.problem.groups,      \
      &c.hidden, &c.table, &c.bias, &c.tau, &c.a, &c.b, &c.targets, &c.ignore, &c.problem.smoothing, \
      &c.problem.z_loss, &c.first, &c.vocabulary

PyObject* result(int64_t status) {
  if (status == 1) return PyErr_NoMemory();
  return PyLong_FromLongLong(status);
}

PyObject* forward(PyObject*, PyObject* args) {
  Call call{};
  unsigned long long nll, lse_max, lse_log;
  if (!PyArg_ParseTuple(args, CALL_FORMAT "KKK", CALL_FIELDS(call), &nll, &lse_max, &lse_log)) return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::Forward out{pointer<float>(nll), pointer<float>(lse_max), pointer<float>(lse_log)};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::forward(call.problem, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* backward(PyObject*, PyObject* args) {
  Call call{};
  unsigned long long grad, lse_max, lse_log, to[6];
  if (!PyArg_ParseTuple(args, CALL_FORMAT "KKKKKKKKK", CALL_FIELDS(call), &grad, &lse_max, &lse_log, &to[0],
                        &to[1], &to[2], &to[3], &to[4], &to[5]))
    return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::Backward out{pointer<const float>(grad), pointer<const float>(lse_max),
                               pointer<const float>(lse_log), pointer<float>(to[0]), pointer<float>(to[1]),
                               pointer<float>(to[2]), pointer<float>(to[3]), pointer<float>(to[4]),
                               pointer<float>(to[5])};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::backward(call.problem, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* workspace(PyObject*, PyObject* args) {
  int index, threads, backward;
  long long rows, words;
  seqstate::Problem problem{};
  if (!PyArg_ParseTuple(args, "iiiLLiidp", &index, &threads, &problem.kind, &rows, &words, &problem.width,
                        &problem.groups, &problem.smoothing, &backward))
    return nullptr;
  const Isa* isa = chosen(index);
  if (!isa) return nullptr;
  problem.rows = rows;
  problem.words = words;
  return PyLong_FromLongLong(seqstate::workspace_bytes(problem, *isa, threads, backward != 0));
}

// The arguments common to what is done with codes, in this order.
struct CodedCall {
  int isa, threads;
  seqstate::CodedProblem problem;
  long long rows, words, ignore;
  unsigned long long tables, code, bias, targets;

  void finish() {
    problem.rows = rows;
    problem.words = words;
    problem.ignore = ignore;
    problem.tables = pointer<const float>(tables);
    problem.code = pointer<const uint8_t>(code);
    problem.bias = pointer<const float>(bias);
    problem.targets = pointer<const int64_t>(targets);
  }
};

#define CODED_FORMAT "iiLLiiKKKKLdd"
#define CODED_FIELDS(c)                                                                                 \
  &c.isa, &c.threads, &c.rows, &c.words, &c.problem.groups, &c.problem.codes, &c.tables, &c.code, &c.bias, \
      &c.targets, &c.ignore, &c.problem.smoothing, &c.problem.z_loss

PyObject* coded_forward(PyObject*, PyObject* args) {
  CodedCall call{};
  unsigned long long nll, lse_max, lse_log;
  if (!PyArg_ParseTuple(args, CODED_FORMAT "KKK", CODED_FIELDS(call), &nll, &lse_max, &lse_log)) return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::Forward out{pointer<float>(nll), pointer<float>(lse_max), pointer<float>(lse_log)};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::coded_forward(call.problem, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* coded_backward(PyObject*, PyObject* args) {
  CodedCall call{};
  unsigned long long at[5];  // gradient of the losses, two parts of the log-sum-exp, tables, bias
  if (!PyArg_ParseTuple(args, CODED_FORMAT "KKKKK", CODED_FIELDS(call), &at[0], &at[1], &at[2], &at[3], &at[4]))
    return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::CodedBackward out{pointer<const float>(at[0]), pointer<const float>(at[1]),
                                    pointer<const float>(at[2]), pointer<float>(at[3]), pointer<float>(at[4])};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::coded_backward(call.problem, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* coded_logits(PyObject*, PyObject* args) {
  CodedCall call{};
  unsigned long long packed, logits;
  if (!PyArg_ParseTuple(args, CODED_FORMAT "KK", CODED_FIELDS(call), &packed, &logits)) return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::coded_logits(call.problem, *isa, pointer<const uint32_t>(packed), pointer<float>(logits));
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* coded_workspace(PyObject*, PyObject* args) {
  CodedCall call{};
  int backward;
  if (!PyArg_ParseTuple(args, CODED_FORMAT "p", CODED_FIELDS(call), &backward)) return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  return PyLong_FromLongLong(seqstate::coded_workspace_bytes(call.problem, *isa, call.threads, backward != 0));
}

PyObject* scan_size(PyObject*, PyObject* args) {
  long long words;
  int groups;
  if (!PyArg_ParseTuple(args, "Li", &words, &groups)) return nullptr;
  return PyLong_FromLongLong(seqstate::scan_size(words, groups));
}

PyObject* pack_scan(PyObject*, PyObject* args) {
  long long words;
  int groups;
  unsigned long long code, packed;
  if (!PyArg_ParseTuple(args, "LiKK", &words, &groups, &code, &packed)) return nullptr;
  seqstate::pack_scan(words, groups, pointer<const uint8_t>(code), pointer<uint32_t>(packed));
  Py_RETURN_NONE;
}

// Sizes, whether to normalise, and addresses of the gain and the angles, in this order.
struct HeadsCall {
  seqstate::Heads heads;
  long long batch, time, turn_stride;
  unsigned long long gain, turn;

  void finish() {
    heads.batch = batch;
    heads.time = time;
    heads.turn_stride = turn_stride;
    heads.gain = pointer<const float>(gain);
    heads.turn = pointer<const float>(turn);
  }
};

#define HEADS_FORMAT "LLiiipKKL"
#define HEADS_FIELDS(c)                                                                          \
  &c.batch, &c.time, &c.heads.heads, &c.heads.shared, &c.heads.width, &unit, &c.gain, &c.turn, \
      &c.turn_stride

PyObject* split_heads(PyObject*, PyObject* args) {
  HeadsCall call{};
  int unit;
  unsigned long long at[5];  // projected, query, key, value, factor
  if (!PyArg_ParseTuple(args, HEADS_FORMAT "KKKKK", HEADS_FIELDS(call), &at[0], &at[1], &at[2], &at[3], &at[4]))
    return nullptr;
  call.heads.unit = unit != 0;
  call.finish();
  Py_BEGIN_ALLOW_THREADS
  seqstate::split_heads(call.heads, pointer<const float>(at[0]), pointer<float>(at[1]), pointer<float>(at[2]),
                        pointer<float>(at[3]), pointer<float>(at[4]));
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

PyObject* split_heads_back(PyObject*, PyObject* args) {
  HeadsCall call{};
  int unit;
  unsigned long long grad[3], at[5];  // query, key, factor, projected, along
  long long by[9];
  if (!PyArg_ParseTuple(args, HEADS_FORMAT "K(LLL)K(LLL)K(LLL)KKKKK", HEADS_FIELDS(call), &grad[0], &by[0], &by[1],
                        &by[2], &grad[1], &by[3], &by[4], &by[5], &grad[2], &by[6], &by[7], &by[8], &at[0], &at[1],
                        &at[2], &at[3], &at[4]))
    return nullptr;
  call.heads.unit = unit != 0;
  call.finish();
  const float* const grads[3] = {pointer<const float>(grad[0]), pointer<const float>(grad[1]),
                                 pointer<const float>(grad[2])};
  const seqstate::Strides strides[3] = {{by[0], by[1], by[2]}, {by[3], by[4], by[5]}, {by[6], by[7], by[8]}};
  Py_BEGIN_ALLOW_THREADS
  seqstate::split_heads_back(call.heads, grads, strides, pointer<const float>(at[0]), pointer<const float>(at[1]),
                             pointer<const float>(at[2]), pointer<float>(at[3]), pointer<double>(at[4]));
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

// Instruction set, threads, sizes, and addresses of queries, keys, values, writes and slots, in this order.
struct SlotsCall {
  int isa, threads;
  seqstate::Slots slots;
  long long batch, time;
  unsigned long long at[5];

  void finish() {
    slots.batch = batch;
    slots.time = time;
    slots.query = pointer<const float>(at[0]);
    slots.key = pointer<const float>(at[1]);
    slots.value = pointer<const float>(at[2]);
    slots.write = pointer<const float>(at[3]);
    slots.held = pointer<const float>(at[4]);
  }
};

#define SLOTS_FORMAT "iiLLiiiKKKKK"
#define SLOTS_FIELDS(c)                                                                                     \
  &c.isa, &c.threads, &c.batch, &c.time, &c.slots.heads, &c.slots.slots, &c.slots.width, &c.at[0], &c.at[1], \
      &c.at[2], &c.at[3], &c.at[4]

PyObject* slots_mix(PyObject*, PyObject* args) {
  SlotsCall call{};
  unsigned long long to[4];  // mixed, after, share, marks
  if (!PyArg_ParseTuple(args, SLOTS_FORMAT "KKKK", SLOTS_FIELDS(call), &to[0], &to[1], &to[2], &to[3])) return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::SlotsMixed out{pointer<float>(to[0]), pointer<float>(to[1]), pointer<float>(to[2]),
                                 pointer<float>(to[3])};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::slots_mix(call.slots, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
}

PyObject* slots_mix_back(PyObject*, PyObject* args) {
  SlotsCall call{};
  unsigned long long given[4], to[5];
  if (!PyArg_ParseTuple(args, SLOTS_FORMAT "KKKKKKKKK", SLOTS_FIELDS(call), &given[0], &given[1], &given[2],
                        &given[3], &to[0], &to[1], &to[2], &to[3], &to[4]))
    return nullptr;
  const Isa* isa = chosen(call.isa);
  if (!isa) return nullptr;
  call.finish();
  const seqstate::SlotsBack out{pointer<const float>(given[0]), pointer<const float>(given[1]),
                                pointer<const float>(given[2]), pointer<const float>(given[3]),
                                pointer<float>(to[0]),          pointer<float>(to[1]),
                                pointer<float>(to[2]),          pointer<float>(to[3]),
                                pointer<float>(to[4])};
  int64_t status;
  Py_BEGIN_ALLOW_THREADS
  status = seqstate::slots_mix_back(call.slots, *isa, call.threads, out);
  Py_END_ALLOW_THREADS
  return result(status);
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
    {"forward", forward, METH_VARARGS, "Losses and log-sum-exps; 0, or -1 - row of a target out of range."},
    {"backward", backward, METH_VARARGS, "Gradients of everything whose address is not 0."},
    {"workspace", workspace, METH_VARARGS, "Bytes of working memory of one call."},
    {"coded_forward", coded_forward, METH_VARARGS, "As forward, for words that are codes."},
    {"coded_backward", coded_backward, METH_VARARGS, "As backward, for words that are codes."},
    {"coded_workspace", coded_workspace, METH_VARARGS, "As workspace, for words that are codes."},
    {"coded_logits", coded_logits, METH_VARARGS, "Logits of all words that are codes."},
    {"scan_size", scan_size, METH_VARARGS, "Numbers of 32 bits that packed codes take."},
    {"pack_scan", pack_scan, METH_VARARGS, "Codes as a scan reads them."},
    {"split_heads", split_heads, METH_VARARGS, "Queries, keys and values of a projection."},
    {"split_heads_back", split_heads_back, METH_VARARGS, "Gradient of the projection."},
    {"slots_mix", slots_mix, METH_VARARGS, "What slots give each token, and what they hold after the last."},
    {"slots_mix_back", slots_mix_back, METH_VARARGS, "Gradients of tokens, writes and slots."},
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
