// The kernels of words that are codes (coded_job.h). Included once per instruction set.
#pragma once

constexpr int RV = kCodedRows / L;  // vectors of a block of rows

// Logits (base 2) of a tile of words, [word][row].
static void score_codes(const CodedJob& job, const float* tables, int64_t first, int count, float* logits) {
  const int G = job.groups;
  const int64_t step = (int64_t)job.codes * kCodedRows;
  const uint8_t* code = job.code + first * G;
  for (int v = 0; v < count; ++v, code += G, logits += kCodedRows) {
    F total[RV];
    const F start = set1(job.bias ? job.bias[first + v] * 1.44269504088896f : 0.0f);
    for (int j = 0; j < RV; ++j) total[j] = start;
    const float* table = tables;
    for (int g = 0; g < G; ++g, table += step)
      for (int j = 0; j < RV; ++j) total[j] = add(total[j], load(table + code[g] * kCodedRows + j * L));
    for (int j = 0; j < RV; ++j) store(logits + j * L, total[j]);
  }
}

static void coded_forward(const CodedJob& job, const CodedSlice& s) {
  const SoftmaxPower softmax_power = SoftmaxPower::make();
  for (int b = 0; b < job.blocks; ++b) {
    const float* tables = job.packed + (int64_t)b * job.groups * job.codes * kCodedRows;
    const int first_row = b * kCodedRows;
    const int rows = job.rows - first_row < kCodedRows ? job.rows - first_row : kCodedRows;
    F most[RV], sum[RV], total[RV];
    for (int j = 0; j < RV; ++j) {
      most[j] = set1(-3.0e38f);
      sum[j] = total[j] = set1(0.0f);
    }
    for (int64_t v = s.first_word; v < s.last_word; v += kCodedWords) {
      const int count = (int)(s.last_word - v < kCodedWords ? s.last_word - v : kCodedWords);
      score_codes(job, tables, v, count, s.logits);
      for (int j = 0; j < RV; ++j) {
        const float* logits = s.logits + j * L;
        F higher = load(logits);
        for (int i = 1; i < count; ++i) higher = at_least(load(logits + i * kCodedRows), higher);
        higher = at_least(higher, most[j]);
        sum[j] = mul(sum[j], softmax_power(sub(most[j], higher)));
        most[j] = higher;
        F part = set1(0.0f);
        for (int i = 0; i < count; ++i)
          part = add(part, softmax_power(sub(load(logits + i * kCodedRows), higher)));
        sum[j] = add(sum[j], part);
        if (job.smoothing)
          for (int i = 0; i < count; ++i) total[j] = add(total[j], load(logits + i * kCodedRows));
      }
      for (int r = 0; r < rows; ++r) {
        const int64_t at = job.target[first_row + r] - v;
        if (at >= 0 && at < count) job.target_logit[first_row + r] = s.logits[at * kCodedRows + r];
      }
    }
    for (int j = 0; j < RV; ++j) {
      store(s.row_max + first_row + j * L, most[j]);
      store(s.row_sum + first_row + j * L, sum[j]);
      if (job.smoothing) store(s.row_total + first_row + j * L, total[j]);
    }
  }
}

// Logits of a tile become their gradients, in place.
static void coded_gradients(const CodedJob& job, const CodedSlice& s, int first_row, int64_t first_word, int count) {
  const SoftmaxPower softmax_power = SoftmaxPower::make();
  for (int j = 0; j < RV; ++j) {
    const int row = first_row + j * L;
    const F most = load(job.lse_max + row), rest = load(job.lse_log + row);
    const F by_p = load(job.grad_p + row), all = load(job.grad_all + row);
    float* at = s.logits + j * L;
    for (int i = 0; i < count; ++i, at += kCodedRows)
      store(at, sub(mul(by_p, softmax_power(sub(sub(load(at), most), rest))), all));
  }
  for (int r = 0; r < kCodedRows && first_row + r < job.rows; ++r) {
    const int64_t at = job.target[first_row + r] - first_word;
    if (at >= 0 && at < count) s.logits[at * kCodedRows + r] -= job.grad_target[first_row + r];
  }
}

static void coded_backward(const CodedJob& job, const CodedSlice& s) {
  const int G = job.groups;
  const int64_t step = (int64_t)job.codes * kCodedRows, size = G * step;
  for (int b = 0; b < job.blocks; ++b) {
    float* grad = s.grad_tables + b * size;
    if (job.want_tables) memset(grad, 0, sizeof(float) * size);
    const bool first = job.first_rows && b == 0;
    for (int64_t v = s.first_word; v < s.last_word; v += kCodedWords) {
      const int count = (int)(s.last_word - v < kCodedWords ? s.last_word - v : kCodedWords);
      score_codes(job, job.packed + b * size, v, count, s.logits);
      coded_gradients(job, s, b * kCodedRows, v, count);
      for (int i = 0; i < count; ++i) {
        F of_word[RV];
        for (int j = 0; j < RV; ++j) of_word[j] = load(s.logits + i * kCodedRows + j * L);
        if (job.want_tables) {
          const uint8_t* code = job.code + (v + i) * G;
          float* table = grad;
          for (int g = 0; g < G; ++g, table += step)
            for (int j = 0; j < RV; ++j) {
              float* at = table + code[g] * kCodedRows + j * L;
              store(at, add(load(at), of_word[j]));
            }
        }
        if (job.grad_bias) {
          F sum = of_word[0];
          for (int j = 1; j < RV; ++j) sum = add(sum, of_word[j]);
          job.grad_bias[v + i] = (first ? 0.0f : job.grad_bias[v + i]) + sum_of(sum);
        }
      }
    }
  }
}

static void scan(const ScanJob& job) {
  constexpr int SV = kScanWords / L;               // vectors of a block
  constexpr int AT_ONCE = SV < 8 ? SV : 8;         // of them in registers
  const int64_t blocks = job.words / kScanWords;
  const int chunks = job.groups / kScanGroups;
  for (int64_t b = 0; b < blocks; ++b)
    for (int i0 = 0; i0 < SV; i0 += AT_ONCE) {
      const int64_t word = b * kScanWords + i0 * L;
      F total[AT_ONCE];
      for (int i = 0; i < AT_ONCE; ++i) total[i] = job.bias ? load(job.bias + word + i * L) : set1(0.0f);
      for (int c = 0; c < chunks; ++c) {
        const uint32_t* from = job.codes + (b * chunks + c) * kScanWords + i0 * L;
        const float* tables = job.tables + c * kScanGroups * kScanCodes;
        for (int half = 0; half < 2; ++half) {
          Codes codes[AT_ONCE];
          for (int i = 0; i < AT_ONCE; ++i) codes[i] = Codes::make(from + i * L, half);
          for (int g = 0; g < kScanGroups / 2; ++g, tables += kScanCodes) {
            const Table16 table = Table16::make(tables);
            for (int i = 0; i < AT_ONCE; ++i) {
              total[i] = add(total[i], table(codes[i]));
              codes[i].next();
            }
          }
        }
      }
      for (int i = 0; i < AT_ONCE; ++i) store(job.out + word + i * L, total[i]);
    }
}
