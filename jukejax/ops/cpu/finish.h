// A product of matrices, and the operations on it while it is in the cache.
//
//   out = left right + bias + residual       bias [N] and residual [M, N] if there are any
//   activated = out * sigmoid(1.702 out)     if requested (quick GELU)
//   sums[N] = sums of right's columns        if requested: a bias's gradient

#ifndef JUKEJAX_OPS_FINISH_H_
#define JUKEJAX_OPS_FINISH_H_

#include <algorithm>
#include <cstdint>

#include "vectors.h"

namespace {  // each library has its own

struct Problem {
  const float* left;
  const float* right;
  int64_t rows, depth, columns;
  bool left_transposed, right_transposed;
  float* out = nullptr;
  const float* bias = nullptr;
  const float* residual = nullptr;
  float* activated = nullptr;
};

struct Range {
  int64_t begin, end;

  // Part `part` of `parts`, in whole units.
  Range Split(int64_t part, int64_t parts, int64_t unit) const {
    const int64_t units = (end - begin + unit - 1) / unit;
    return {std::min(end, begin + part * units / parts * unit),
            std::min(end, begin + (part + 1) * units / parts * unit)};
  }
  int64_t size() const { return end - begin; }
};

// x * sigmoid(1.702 x), by e^-|1.702 x|, which does not overflow. (Exp never becomes zero.)
template <typename Vector, typename Int>
JUKEJAX_INLINE Vector QuickGelu(Vector x) {
  const Vector zero = {}, one = zero + 1.0f, scaled = x * 1.702f;
  const Vector below = scaled > zero ? -scaled : scaled;
  const Vector power = below < zero - 87.0f ? zero : Exp<Vector, Int>(below);
  return x * (scaled > zero ? one : power) / (one + power);
}

// Prefetches what `Finish` reads and writes besides `out`.
JUKEJAX_INLINE void PrefetchFinish(const Problem& p, Range rows, Range columns) {
  if (p.residual == nullptr && p.activated == nullptr) return;
  for (int64_t m = rows.begin; m < rows.end; ++m) {
    for (int64_t n = columns.begin; n < columns.end; n += kLine) {
      if (p.residual != nullptr) __builtin_prefetch(p.residual + m * p.columns + n);
      if (p.activated != nullptr) __builtin_prefetch(p.activated + m * p.columns + n, 1);
    }
  }
}

// Applies bias, residual and activation to complete sums in p.out.
template <typename Vector, typename Int>
JUKEJAX_INLINE void Finish(const Problem& p, Range rows, Range columns) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  if (p.bias == nullptr) return;
  for (int64_t m = rows.begin; m < rows.end; ++m) {
    for (int64_t n = columns.begin; n < columns.end; n += kLanes) {
      const int64_t at = m * p.columns + n, count = std::min(kLanes, columns.end - n);
      Vector sum = LoadSome<Vector>(p.out + at, count) + LoadSome<Vector>(p.bias + n, count);
      if (p.residual != nullptr) sum += LoadSome<Vector>(p.residual + at, count);
      StoreSome(sum, p.out + at, count);
      if (p.activated != nullptr) StoreSome(QuickGelu<Vector, Int>(sum), p.activated + at, count);
    }
  }
}

// Sums some columns of `right`, which is not transposed, over `depth`; stores the sums, or adds
// them.
template <typename Vector>
JUKEJAX_INLINE void SumColumns(const Problem& p, Range columns, Range depth, bool add,
                               float* sums) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float), kVectors = 4;
  for (int64_t n = columns.begin; n < columns.end; n += kVectors * kLanes) {
    Vector found[kVectors] = {};
    int64_t counts[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
      counts[v] = std::clamp<int64_t>(columns.end - n - v * kLanes, 0, kLanes);
    }
    for (int64_t k = depth.begin; k < depth.end; ++k) {
      const float* const from = p.right + k * p.columns + n;
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        found[v] += LoadSome<Vector>(from + v * kLanes, counts[v]);
      }
    }
    for (int64_t v = 0; v < kVectors; ++v) {
      float* const to = sums + n + v * kLanes;
      if (add) found[v] += LoadSome<Vector>(to, counts[v]);
      StoreSome(found[v], to, counts[v]);
    }
  }
}

}  // namespace

#endif  // JUKEJAX_OPS_FINISH_H_
