// The innermost part of products: a few rows of one matrix times some columns of another, whose
// sums stay in registers.

#ifndef JUKEJAX_OPS_BLOCK_H_
#define JUKEJAX_OPS_BLOCK_H_

#include <cstdint>
#include <utility>

#include "vectors.h"

namespace {  // each library has its own

constexpr int64_t kDepth = 128;  // from one row of `left` to the next; the deepest block

// The kernel for one kind of processor: kRows x kVectors registers hold sums.
template <typename VectorType, int rows, int vectors>
struct Form {
  using Vector = VectorType;
  static constexpr int kRows = rows, kVectors = vectors;
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  static constexpr int64_t kColumns = kVectors * kLanes;

  // out[count, kColumns] = left right, or is added to. left is [kRows, kDepth], or
  // [depth, kRows] if transposed; right [depth, kColumns].
  template <int count, bool kTransposed>
  static JUKEJAX_INLINE void Block(const float* left, const float* right, int64_t depth, float* out,
                                   int64_t stride, bool add) {
    Vector sums[count][kVectors] = {};
    for (int r = 0; r < count; ++r) {
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(out + r * stride + v * kLanes, 1);
    }
    for (int64_t k = 0; k < depth; ++k, right += kColumns, left += kTransposed ? kRows : 1) {
      Vector from_right[kVectors];
      for (int v = 0; v < kVectors; ++v) from_right[v] = Load<Vector>(right + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < count; ++r) {
        const Vector from_left = left[kTransposed ? r : r * kDepth] - Vector{};
        for (int v = 0; v < kVectors; ++v) sums[r][v] += from_left * from_right[v];
      }
    }
    for (int r = 0; r < count; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        float* const to = out + r * stride + v * kLanes;
        Store(add ? Load<Vector>(to) + sums[r][v] : sums[r][v], to);
      }
    }
  }
};

// A function for each processor, since a template cannot have a target attribute.
struct Avx512 : Form<Wide, 14, 2> {
  template <int count, bool kTransposed>
  JUKEJAX_AVX512 static void Run(const float* left, const float* right, int64_t depth, float* out,
                                 int64_t stride, bool add) {
    Block<count, kTransposed>(left, right, depth, out, stride, add);
  }
};
struct Avx2 : Form<Narrow, 6, 2> {
  template <int count, bool kTransposed>
  JUKEJAX_AVX2 static void Run(const float* left, const float* right, int64_t depth, float* out,
                               int64_t stride, bool add) {
    Block<count, kTransposed>(left, right, depth, out, stride, add);
  }
};

using BlockFunction = void (*)(const float*, const float*, int64_t, float*, int64_t, bool);

template <typename Kind, bool kTransposed, int... kCounts>
BlockFunction Pick(int64_t count, std::integer_sequence<int, kCounts...>) {
  static constexpr BlockFunction kBlocks[] = {Kind::template Run<kCounts + 1, kTransposed>...};
  return kBlocks[count - 1];
}

}  // namespace

#endif  // JUKEJAX_OPS_BLOCK_H_
