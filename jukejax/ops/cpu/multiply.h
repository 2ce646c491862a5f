// A part of a product of matrices: its operands are copied in blocks close to the caches, and
// multiplied with vectors (block.h) or with tiles (tiles.h).

#ifndef JUKEJAX_OPS_CPU_MULTIPLY_H_
#define JUKEJAX_OPS_CPU_MULTIPLY_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "block.h"
#include "finish.h"
#include "scratch.h"
#include "tiles.h"
#include "vectors.h"

namespace {  // each library has its own

constexpr int64_t kWide = 512;  // columns of `right` that are copied at once, kDeep of them deep
constexpr int64_t kTall = 16;   // at least the rows of a block

struct Part {
  Range rows, columns, depth;
  float* out;   // [p.rows, p.columns]
  float* sums;  // [p.columns] of `right`, or null

  bool Whole(const Problem& p) const { return depth.size() == p.depth; }
};

// Prefetches a part of the rows of `left` that are copied next.
JUKEJAX_INLINE void PrefetchLeft(const Problem& p, Range rows, Range depth, int64_t part,
                                 int64_t parts) {
  if (rows.size() <= 0) return;
  if (!p.left_transposed) {
    const Range some = rows.Split(part, parts, 1);
    for (int64_t row = some.begin; row < some.end; ++row) {
      const float* const from = p.left + row * p.depth;
      for (int64_t k = depth.begin; k < depth.end; k += kLine) __builtin_prefetch(from + k, 0, 2);
    }
    return;
  }
  const Range some = depth.Split(part, parts, 1);
  for (int64_t k = some.begin; k < some.end; ++k) {
    __builtin_prefetch(p.left + k * p.rows + rows.begin, 0, 2);
    __builtin_prefetch(p.left + k * p.rows + rows.end - 1, 0, 2);
  }
}

// Copies the entries of a block at the edge of the result, or adds them.
inline void AddEdge(const float* block, int64_t block_stride, int64_t rows, int64_t columns,
                    bool add, float* out, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& sum = out[r * stride + j];
      sum = (add ? sum : 0.0f) + block[r * block_stride + j];
    }
  }
}

// Computes a part of the product, by one of the kinds below.
template <typename Kind>
JUKEJAX_INLINE void Multiply(const Problem& p, const Part& part) {
  constexpr int64_t kRows = Kind::kRows, kColumns = Kind::kColumns;
  using Entry = typename Kind::Entry;
  constexpr int64_t kLeftFloats = Kind::kLeftSize * sizeof(Entry) / sizeof(float);
  constexpr int64_t kRightFloats = Kind::Panel(Kind::kDeep) * sizeof(Entry) / sizeof(float);
  static thread_local Scratch scratch;
  float* const floats = scratch.Of(kLeftFloats + kWide / kColumns * kRightFloats);
  Entry* const left = reinterpret_cast<Entry*>(floats);
  Entry* const right = reinterpret_cast<Entry*>(floats + kLeftFloats);
  [[maybe_unused]] const typename Kind::InUse in_use;
  const Range rows = part.rows, columns = part.columns, depth = part.depth;
  for (int64_t n0 = columns.begin; n0 < columns.end; n0 += kWide) {
    const Range wide{n0, std::min(n0 + kWide, columns.end)};
    const int64_t panels = (wide.size() + kColumns - 1) / kColumns;
    for (int64_t k0 = depth.begin; k0 < depth.end; k0 += Kind::kDeep) {
      const Range deep{k0, std::min(k0 + Kind::kDeep, depth.end)};
      const bool add = k0 > depth.begin;
      const bool last = deep.end == depth.end && part.Whole(p);
      if (part.sums != nullptr) {
        SumColumns<typename Kind::Vector>(p, wide, deep, add, part.sums);
      }
      Kind::LayOutRight(p, wide, deep, right);
      for (int64_t m = rows.begin; m < rows.end; m += kRows) {
        const Range these{m, std::min(m + kRows, rows.end)};
        const Range next{these.end, std::min(these.end + kRows, rows.end)};
        Kind::LayOutLeft(p, these, deep, left);
        for (int64_t panel = 0; panel < panels; ++panel) {
          const Entry* const from = right + panel * Kind::Panel(deep.size());
          const Range across{n0 + panel * kColumns,
                             std::min(n0 + (panel + 1) * kColumns, wide.end)};
          float* const to = part.out + m * p.columns + across.begin;
          PrefetchLeft(p, next, deep, panel, panels);
          if (last) PrefetchFinish(p, these, across);
          if (across.size() == kColumns && (Kind::kFewer || these.size() == kRows)) {
            Kind::Block(p, left, from, these.size(), deep.size(), to, p.columns, add);
          } else {
            alignas(64) float block[kRows * kColumns];
            Kind::Block(p, left, from, these.size(), deep.size(), block, kColumns, false);
            AddEdge(block, kColumns, these.size(), across.size(), add, to, p.columns);
          }
          if (last) Finish<typename Kind::Vector, typename Kind::Int>(p, these, across);
        }
      }
    }
  }
}

// Multiplication with vectors, by a form of block.h.
template <typename Form, typename IntVector>
struct Vectors {
  using Vector = typename Form::Vector;
  using Int = IntVector;
  using Entry = float;
  struct InUse {};
  static constexpr int64_t kRows = Form::kRows, kColumns = Form::kColumns, kDeep = kDepth;
  static constexpr int64_t kLeftSize = kTall * kDeep;
  static constexpr bool kFewer = true;  // blocks may have fewer rows
  static_assert(kRows <= kTall);

  static constexpr int64_t Panel(int64_t deep) { return deep * kColumns; }

  // Packs columns [depth, columns] of `right` in panels, padded with zeros.
  static JUKEJAX_INLINE void LayOutRight(const Problem& p, Range columns, Range depth, float* to) {
    const int64_t deep = depth.size();
    for (int64_t n = columns.begin; n < columns.end; n += kColumns, to += deep * kColumns) {
      const int64_t count = std::min(kColumns, columns.end - n);
      if (count < kColumns) std::memset(to, 0, deep * kColumns * sizeof(float));
      if (!p.right_transposed) {
        for (int64_t k = 0; k < deep; ++k) {
          const float* const from = p.right + (depth.begin + k) * p.columns + n;
          if (count == kColumns) {
            std::memcpy(to + k * kColumns, from, kColumns * sizeof(float));
          } else {
            std::memcpy(to + k * kColumns, from, count * sizeof(float));
          }
        }
        continue;
      }
      const float* const from = p.right + n * p.depth + depth.begin;
      const int64_t tiles = count == kColumns && kColumns % kTile == 0 ? deep / kTile * kTile : 0;
      for (int64_t k = 0; k < tiles; k += kTile) {
        for (int64_t j = 0; j < kColumns; j += kTile) {
          TransposeTile<Vector>(from + j * p.depth + k, p.depth, to + k * kColumns + j, kColumns);
        }
      }
      for (int64_t k = tiles; k < deep; ++k) {
        for (int64_t j = 0; j < count; ++j) to[k * kColumns + j] = from[j * p.depth + k];
      }
    }
  }

  // Copies a few rows of `left`: [kRows, kDepth], or [depth, kRows] if transposed.
  static JUKEJAX_INLINE void LayOutLeft(const Problem& p, Range rows, Range depth, float* to) {
    const int64_t deep = depth.size(), count = rows.size();
    if (!p.left_transposed) {
      for (int64_t r = 0; r < count; ++r) {
        std::memcpy(to + r * kDepth, p.left + (rows.begin + r) * p.depth + depth.begin,
                    deep * sizeof(float));
      }
      return;
    }
    for (int64_t k = 0; k < deep; ++k) {
      const float* const from = p.left + (depth.begin + k) * p.rows + rows.begin;
      if (count == kRows) {
        std::memcpy(to + k * kRows, from, kRows * sizeof(float));
      } else {
        std::memcpy(to + k * kRows, from, count * sizeof(float));
      }
    }
  }

  static JUKEJAX_INLINE void Block(const Problem& p, const float* left, const float* right,
                                   int64_t rows, int64_t deep, float* out, int64_t stride,
                                   bool add) {
    constexpr auto kCounts = std::make_integer_sequence<int, Form::kRows>();
    const BlockFunction block =
        p.left_transposed ? Pick<Form, true>(rows, kCounts) : Pick<Form, false>(rows, kCounts);
    block(left, right, deep, out, stride, add);
  }
};

JUKEJAX_AVX512 void MultiplyAvx512(const Problem& p, const Part& part) {
  Multiply<Vectors<Avx512, WideInt>>(p, part);
}
JUKEJAX_AVX2 void MultiplyAvx2(const Problem& p, const Part& part) {
  Multiply<Vectors<Avx2, NarrowInt>>(p, part);
}

JUKEJAX_AVX512 void FinishAvx512(const Problem& p, Range rows, Range columns) {
  Finish<Wide, WideInt>(p, rows, columns);
}
JUKEJAX_AVX2 void FinishAvx2(const Problem& p, Range rows, Range columns) {
  Finish<Narrow, NarrowInt>(p, rows, columns);
}

#ifdef JUKEJAX_HAS_TILES

struct Tiles {
  using Vector = Wide;
  using Int = WideInt;
  using Entry = uint16_t;
  using InUse = TilesInUse;
  // At 256 the blocks of `left` fill the L1 cache. With 128 the result is read and written twice as
  // often, with 512 neither operand fits: both were slower.
  static constexpr int64_t kRows = kUnit, kColumns = kUnit, kDeep = 256;
  static constexpr int64_t kLeftSize = kDeep / kUnit * kBlock;
  static constexpr bool kFewer = false;

  static constexpr int64_t Blocks(int64_t deep) { return (deep + kUnit - 1) / kUnit; }
  static constexpr int64_t Panel(int64_t deep) { return Blocks(deep) * kBlock; }

  static JUKEJAX_INLINE void LayOutRight(const Problem& p, Range columns, Range depth,
                                         uint16_t* to) {
    const int64_t stride = p.right_transposed ? p.depth : p.columns;
    LayOutBlocks<false>(p.right, stride, p.right_transposed, columns, depth, to);
  }

  static JUKEJAX_INLINE void LayOutLeft(const Problem& p, Range rows, Range depth, uint16_t* to) {
    const int64_t stride = p.left_transposed ? p.rows : p.depth;
    LayOutBlocks<true>(p.left, stride, p.left_transposed, rows, depth, to);
  }

  static JUKEJAX_INLINE void Block(const Problem&, const uint16_t* left, const uint16_t* right,
                                   int64_t, int64_t deep, float* out, int64_t stride, bool add) {
    MultiplyBlocks(left, right, Blocks(deep), out, stride, add);
  }

  // Packs blocks of rows of `left` or of columns of `right`: all of `deep` for the first, then the
  // next.
  template <bool kLeft>
  JUKEJAX_TILES static void LayOutBlocks(const float* matrix, int64_t stride, bool transposed,
                                         Range side, Range deep, uint16_t* to) {
    for (int64_t i = side.begin; i < side.end; i += kUnit) {
      for (int64_t k = deep.begin; k < deep.end; k += kUnit, to += kBlock) {
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t first = i + half * kSide;
          const int64_t row = kLeft ? first : k, column = kLeft ? k : first;
          const int64_t offset = transposed ? column * stride + row : row * stride + column;
          LayOut<kLeft>(matrix + offset, stride, transposed, (kLeft ? side : deep).end - row,
                        (kLeft ? deep : side).end - column, to + half * kTileSize);
        }
      }
    }
  }
};

JUKEJAX_TILES void MultiplyTiles(const Problem& p, const Part& part) { Multiply<Tiles>(p, part); }

#endif  // JUKEJAX_HAS_TILES

}  // namespace

#endif  // JUKEJAX_OPS_CPU_MULTIPLY_H_
