// Float32 convolutions at the same length on CPUs, with the operations before and after them.
//
//   sum[b, t, d] = sum over k, c of f(x[b, t + (k - taps / 2) * dilation, c]) * kernel[k, c, d]
//   out = added + scale * masked(g(sum + bias))
//
// with x zero outside of its window. f and g are relu or nothing; `masked` is zero where `mask` is
// not above zero.
//
// A few rows of x for all taps side by side are the left operand of a product, in the L1 cache; the
// kernel is the right operand, packed once into columns of registers, in the L2 cache.
//
// Shapes: x [B, T, C], kernel [taps, C, D], bias [D], mask, added and out [B, T, D].

#ifndef JUKEJAX_OPS_CONVOLUTION_H_
#define JUKEJAX_OPS_CONVOLUTION_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "block.h"
#include "scratch.h"
#include "vectors.h"

namespace {  // each library has its own

constexpr int64_t kMostRows = 16;  // of any Form

struct Convolution {
  const float* x;
  const float* kernel;
  float* out;
  int64_t batch, time, in, features;
  int64_t taps = 1, dilation = 1;
  bool relu_in = false, relu_out = false;
  float scale = 1.0f;
  const float* bias = nullptr;  // these three may be left out
  const float* mask = nullptr;
  const float* added = nullptr;

  int64_t Depth() const { return taps * in; }
};

template <typename Vector>
JUKEJAX_INLINE Vector Relu(Vector v) {
  return v < 0.0f ? Vector{} : v;  // keeps what is not a number
}

// Copies or takes the relu of `count` floats.
template <typename Vector>
JUKEJAX_INLINE void CopySome(const float* from, int64_t count, bool relu, float* to) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  if (!relu) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(Relu(Load<Vector>(from + i)), to + i);
  for (; i < count; ++i) to[i] = from[i] < 0.0f ? 0.0f : from[i];
}

// Entries k0 .. k0 + deep - 1 of [taps, C] for some rows of a window, as [rows, kDepth].
template <typename Vector>
JUKEJAX_INLINE void CopyLeft(const Convolution& p, const float* window, int64_t first, int64_t rows,
                             int64_t k0, int64_t deep, float* to) {
  for (int64_t k = k0; k < k0 + deep;) {
    const int64_t tap = k / p.in, channel = k % p.in;
    const int64_t count = std::min(p.in - channel, k0 + deep - k);
    const int64_t shift = (tap - p.taps / 2) * p.dilation;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t t = first + r + shift;
      float* const entries = to + r * kDepth + k - k0;
      if (t < 0 || t >= p.time) {
        std::memset(entries, 0, count * sizeof(float));
      } else {
        CopySome<Vector>(window + t * p.in + channel, count, p.relu_in, entries);
      }
    }
    k += count;
  }
}

// Packs the kernel as [depth / kDepth][panels][kDepth, kColumns], padded with zeros.
template <typename Kind>
JUKEJAX_INLINE void CopyKernel(const Convolution& p, float* to) {
  constexpr int64_t kColumns = Kind::kColumns;
  for (int64_t k0 = 0; k0 < p.Depth(); k0 += kDepth) {
    const int64_t deep = std::min(kDepth, p.Depth() - k0);
    for (int64_t n = 0; n < p.features; n += kColumns) {
      const int64_t count = std::min(kColumns, p.features - n);
      for (int64_t k = 0; k < deep; ++k, to += kColumns) {
        std::memset(to, 0, kColumns * sizeof(float));
        std::memcpy(to, p.kernel + (k0 + k) * p.features + n, count * sizeof(float));
      }
    }
  }
}

// Applies the operations after the sums of a row: sums [D], the others from entry `at` on.
template <typename Vector>
JUKEJAX_INLINE void Finish(const Convolution& p, const float* sums, int64_t at) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  int64_t d = 0;
  for (; d + kLanes <= p.features; d += kLanes) {
    Vector v = Load<Vector>(sums + d);
    if (p.bias != nullptr) v += Load<Vector>(p.bias + d);
    if (p.relu_out) v = Relu(v);
    v *= p.scale;
    if (p.mask != nullptr) v = Load<Vector>(p.mask + at + d) > 0.0f ? v : Vector{};
    if (p.added != nullptr) v += Load<Vector>(p.added + at + d);
    Store(v, p.out + at + d);
  }
  for (; d < p.features; ++d) {
    float v = sums[d] + (p.bias == nullptr ? 0.0f : p.bias[d]);
    if (p.relu_out && v < 0.0f) v = 0.0f;
    v *= p.scale;
    if (p.mask != nullptr && !(p.mask[at + d] > 0.0f)) v = 0.0f;
    p.out[at + d] = v + (p.added == nullptr ? 0.0f : p.added[at + d]);
  }
}

// Prefetches a part of what a block of rows reads at its end, and of what the next block reads
// first: its last tap, since the earlier ones were read before.
JUKEJAX_INLINE void Prefetch(const Convolution& p, int64_t row, int64_t rows, int64_t part,
                             int64_t parts) {
  const int64_t size = rows * p.features, most = p.batch * p.time * p.in;
  for (int64_t i = part * size / parts; i < (part + 1) * size / parts; i += kLine) {
    const int64_t at = row * p.features + i;
    if (p.mask != nullptr) __builtin_prefetch(p.mask + at);
    if (p.added != nullptr) __builtin_prefetch(p.added + at);
    __builtin_prefetch(p.out + at, 1);
  }
  const int64_t next = (row + rows + p.taps / 2 * p.dilation) * p.in, read = rows * p.in;
  const int64_t end = std::min(most, next + (part + 1) * read / parts);
  for (int64_t i = next + part * read / parts; i < end; i += kLine) {
    __builtin_prefetch(p.x + i, 0, 2);
  }
}

// Rows begin .. end - 1 of all windows' rows together.
template <typename Kind>
JUKEJAX_INLINE void Convolve(const Convolution& p, const float* kernel, int64_t begin,
                             int64_t end) {
  using Vector = typename Kind::Vector;
  constexpr int64_t kRows = Kind::kRows, kColumns = Kind::kColumns;
  static_assert(kRows <= kMostRows);
  constexpr auto kCounts = std::make_integer_sequence<int, kRows>();
  const int64_t panels = (p.features + kColumns - 1) / kColumns, wide = panels * kColumns;
  static thread_local Scratch scratch;
  float* const left = scratch.Of(kMostRows * (kDepth + wide));
  float* const sums = left + kMostRows * kDepth;
  for (int64_t row = begin; row < end;) {
    const int64_t window = row / p.time, first = row % p.time;
    const int64_t rows = std::min({kRows, end - row, p.time - first});
    const BlockFunction block = Pick<Kind, false>(rows, kCounts);
    const float* right = kernel;
    const int64_t parts = (p.Depth() + kDepth - 1) / kDepth * panels;
    int64_t part = 0;
    for (int64_t k0 = 0; k0 < p.Depth(); k0 += kDepth) {
      const int64_t deep = std::min(kDepth, p.Depth() - k0);
      CopyLeft<Vector>(p, p.x + window * p.time * p.in, first, rows, k0, deep, left);
      for (int64_t panel = 0; panel < panels; ++panel, right += deep * kColumns) {
        Prefetch(p, row, rows, part++, parts);
        block(left, right, deep, sums + panel * kColumns, wide, k0 > 0);
      }
    }
    for (int64_t r = 0; r < rows; ++r) Finish<Vector>(p, sums + r * wide, (row + r) * p.features);
    row += rows;
  }
}

JUKEJAX_AVX512 inline void CopyKernelAvx512(const Convolution& p, float* to) {
  CopyKernel<Avx512>(p, to);
}
JUKEJAX_AVX2 inline void CopyKernelAvx2(const Convolution& p, float* to) {
  CopyKernel<Avx2>(p, to);
}
JUKEJAX_AVX512 inline void ConvolveAvx512(const Convolution& p, const float* kernel, int64_t begin,
                                          int64_t end) {
  Convolve<Avx512>(p, kernel, begin, end);
}
JUKEJAX_AVX2 inline void ConvolveAvx2(const Convolution& p, const float* kernel, int64_t begin,
                                      int64_t end) {
  Convolve<Avx2>(p, kernel, begin, end);
}

const bool kAvx512 = HasAvx512();
auto* const kConvolve = kAvx512 ? ConvolveAvx512 : ConvolveAvx2;

// Packs the kernel for `kConvolve`.
inline const float* LayOut(const Convolution& p, Scratch& memory) {
  const int64_t columns = kAvx512 ? Avx512::kColumns : Avx2::kColumns;
  float* const to = memory.Of(p.Depth() * ((p.features + columns - 1) / columns) * columns);
  kAvx512 ? CopyKernelAvx512(p, to) : CopyKernelAvx2(p, to);
  return to;
}

}  // namespace

#endif  // JUKEJAX_OPS_CONVOLUTION_H_
