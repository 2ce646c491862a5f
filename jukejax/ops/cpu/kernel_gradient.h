// The gradient of a convolution's kernel, or a part of its summands.
//
//   out[k, c, d] = sum over b, t of f(x[b, t + (k - taps / 2) * dilation, c]) * dy[b, t, d]
//
// with x zero outside of its window and f relu or nothing. With one tap it is the gradient of a
// matrix product, x^T dy: few results of many summands, for which XLA's products are slow. The
// summands are processed in blocks, both operands of a block are packed in panels, and a tile of
// the result stays in registers while a block is added to it (Goto and van de Geijn 2008, "Anatomy
// of high-performance matrix multiplication").
//
// Shapes: x [B, T, C], dy [B, T, D], out [taps, C, D], all float32.

#ifndef JUKEJAX_OPS_KERNEL_GRADIENT_H_
#define JUKEJAX_OPS_KERNEL_GRADIENT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "scratch.h"
#include "vectors.h"

namespace {  // each library has its own

constexpr int64_t kNarrow = 64;  // columns of an operand that is used as it lies

struct KernelGradient {
  const float* x;
  const float* dy;
  int64_t batch, time, in, out, taps, dilation;
  bool relu;  // of x

  // Summands in a block: one panel of each operand, or all of narrow ones, fit the L1 cache.
  int64_t BlockLength() const { return std::max(in, out) <= kNarrow ? 56 : 252; }
  int64_t BlocksInWindow() const { return (time + BlockLength() - 1) / BlockLength(); }
  int64_t Blocks() const { return batch * BlocksInWindow(); }
  int64_t OutputSize() const { return taps * in * out; }
};

// Some rows of an operand, packed in panels of a few columns.
struct Panels {
  const float* data;
  int64_t step;    // from one panel to the next
  int64_t stride;  // from one row of a panel to the next
};

// Floats from one packed panel to the next: a cache line more than it has, so that the same row of
// all panels does not map to one set of the cache.
constexpr int64_t PanelStep(int64_t count, int64_t panel) { return count * panel + kLine; }

// Rows first .. first + count - 1 of a window [time, width]. Narrow ones inside the window are used
// in place. Others are copied to `packed` (or their relu is): all rows of each panel, one after the
// other, padded with zeros.
template <int64_t kPanel>
JUKEJAX_INLINE Panels View(const float* window, int64_t time, int64_t width, int64_t first,
                           int64_t count, bool relu, float* packed) {
  const int64_t full = width / kPanel, rest = width % kPanel, step = PanelStep(count, kPanel);
  if (!relu && width <= kNarrow && rest == 0 && first >= 0 && first + count <= time) {
    return {window + first * width, kPanel, width};
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    float* to = packed + i * kPanel;
    if (row < 0 || row >= time) {
      for (int64_t panel = 0; panel < full + (rest > 0); ++panel, to += step) {
        std::memset(to, 0, kPanel * sizeof(float));
      }
      continue;
    }
    const float* from = window + row * width;
    for (int64_t panel = 0; panel < full; ++panel, from += kPanel, to += step) {
      if (relu) {
        for (int64_t j = 0; j < kPanel; ++j) to[j] = from[j] < 0.0f ? 0.0f : from[j];
      } else {
        std::memcpy(to, from, kPanel * sizeof(float));
      }
    }
    if (rest > 0) {
      for (int64_t j = 0; j < kPanel; ++j) {
        to[j] = j >= rest || (relu && from[j] < 0.0f) ? 0.0f : from[j];
      }
    }
  }
  return {packed, step, kPanel};
}

// Prefetches a part of the next block while this one is added.
JUKEJAX_INLINE void Prefetch(const float* from, int64_t size, int64_t part, int64_t parts) {
  for (int64_t i = part * size / parts; i < (part + 1) * size / parts; i += kLine) {
    __builtin_prefetch(from + i, 0, 2);
  }
}

// tile[r][v] += sum over rows of a[row][r] * b[row][v], with kRows x kVectors registers of sums.
template <typename Vector, int kRows, int kVectors>
JUKEJAX_INLINE void AddTile(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                            int64_t count, float* tile, int64_t stride, int64_t rows,
                            int64_t columns) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
  constexpr int kColumns = kVectors * kLanes;
  Vector sums[kRows][kVectors] = {};
  for (int64_t row = 0; row < count; ++row, a += a_stride, b += b_stride) {
    Vector right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = Load<Vector>(b + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] += a[r] * right[v];
    }
  }
  if (rows == kRows && columns == kColumns) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        float* to = tile + r * stride + v * kLanes;
        const Vector sum = Load<Vector>(to) + sums[r][v];
        std::memcpy(to, &sum, sizeof(sum));
      }
    }
    return;
  }
  float found[kRows][kColumns];
  std::memcpy(found, sums, sizeof(found));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) tile[r * stride + c] += found[r][c];
  }
}

// Adds blocks begin .. end - 1 to `out`.
template <typename Vector, int kRows, int kVectors>
JUKEJAX_INLINE void AddBlocks(const KernelGradient& p, int64_t begin, int64_t end, float* out) {
  constexpr int64_t kColumns = kVectors * sizeof(Vector) / sizeof(float);
  const int64_t length = p.BlockLength();
  const int64_t row_panels = (p.in + kRows - 1) / kRows;
  const int64_t column_panels = (p.out + kColumns - 1) / kColumns;
  static thread_local Scratch scratch;
  const int64_t of_left = row_panels * PanelStep(length, kRows);
  float* const left = scratch.Of(of_left + column_panels * PanelStep(length, kColumns));
  float* const right = left + of_left;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t window = block / p.BlocksInWindow(), first = block % p.BlocksInWindow() * length;
    const int64_t count = std::min(length, p.time - first);
    const float* const x = p.x + window * p.time * p.in;
    const float* const dy = p.dy + window * p.time * p.out;
    const Panels b = View<kColumns>(dy, p.time, p.out, first, count, false, right);
    for (int64_t tap = 0; tap < p.taps; ++tap) {
      const int64_t shifted = first + (tap - p.taps / 2) * p.dilation;
      const Panels a = View<kRows>(x, p.time, p.in, shifted, count, p.relu, left);
      for (int64_t j = 0; j < column_panels; ++j) {
        for (int64_t i = 0; i < row_panels; ++i) {
          if (tap == 0) {
            const int64_t tile = j * row_panels + i, tiles = row_panels * column_panels;
            Prefetch(x + (first + count) * p.in, count * p.in, tile, tiles);
            Prefetch(dy + (first + count) * p.out, count * p.out, tile, tiles);
          }
          AddTile<Vector, kRows, kVectors>(
              a.data + i * a.step, a.stride, b.data + j * b.step, b.stride, count,
              out + (tap * p.in + i * kRows) * p.out + j * kColumns, p.out,
              std::min<int64_t>(kRows, p.in - i * kRows),
              std::min<int64_t>(kColumns, p.out - j * kColumns));
        }
      }
    }
  }
}

JUKEJAX_AVX512 inline void AddBlocksAvx512(const KernelGradient& p, int64_t begin, int64_t end,
                                           float* out) {
  AddBlocks<Wide, 8, 2>(p, begin, end, out);
}

JUKEJAX_AVX2 inline void AddBlocksAvx2(const KernelGradient& p, int64_t begin, int64_t end,
                                       float* out) {
  AddBlocks<Narrow, 4, 2>(p, begin, end, out);
}

auto* const kAddBlocks = HasAvx512() ? AddBlocksAvx512 : AddBlocksAvx2;

}  // namespace

#endif  // JUKEJAX_OPS_KERNEL_GRADIENT_H_
