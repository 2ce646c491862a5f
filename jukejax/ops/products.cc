// Products of float32 matrices on CPUs, as an XLA custom call (jax.ffi).
//
//   out[M, N] = left right    left [M, K], or [K, M] if it is transposed
//                             right [K, N], or [N, K] if it is transposed
//
// Some rows of `left` and a block of `right` are copied to where they are read, close to the L1 and
// the L2 cache, and a few rows of the result stay in registers while their products are added up
// (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
// Threads share out the result, or the summands if these are more; then their sums are added in
// order, so that one number of threads always gives the same bits.
//
// Processors with tiles multiply these (tiles.h), others vectors (block.h).

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "block.h"
#include "parts.h"
#include "scratch.h"
#include "tiles.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kWide = 512;  // columns of `right` that are copied at once, kDepth of them deep
constexpr int64_t kTall = 16;  // at least the rows of a block
constexpr int64_t kPartsOfThread = 4;

struct Problem {
  const float* left;
  const float* right;
  int64_t rows, depth, columns;
  bool left_transposed, right_transposed;
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

// How a product is shared out: each part has some rows, columns and depth.
struct Grid {
  int64_t rows, columns, depth;

  int64_t Parts() const { return rows * columns * depth; }
};

// How a processor multiplies.
struct Way {
  // Into out [p.rows, p.columns].
  void (*multiply)(const Problem& p, Range rows, Range columns, Range depth, float* out);
  int64_t unit;  // parts begin at multiples of it, along rows and depth
  double speed;  // multiplications in the time of copying an entry, of the size that was fastest
};

// The grid that keeps `threads` threads busy for the shortest time: with what is multiplied, copied
// and added up, and waiting for the last part. Threads are never equally fast, so there are more
// parts than threads.
Grid BestGrid(const Problem& p, int64_t threads, const Way& way) {
  Grid best{1, 1, 1};
  double least = -1;
  const int64_t most = kPartsOfThread * threads, tall = std::max(kTall, way.unit);
  for (int64_t d = 1; d <= most && kDepth * d <= std::max(p.depth, kDepth); ++d) {
    for (int64_t c = 1; c * d <= most && kWide * c <= std::max(p.columns, kWide); ++c) {
      for (int64_t r = 1; r * c * d <= most && tall * r <= std::max(p.rows, tall); ++r) {
        const Grid grid{r, c, d};
        const double rows = double(p.rows) / r, columns = double(p.columns) / c;
        const double depth = double(p.depth) / d;
        const double copied = rows * std::max(1.0, columns / kWide) + columns;
        const double part = rows * columns * depth / way.speed + copied * depth;
        const double added = d == 1 ? 0.0 : double(d) * p.rows * p.columns;
        const double time = std::max(1.0, double(grid.Parts()) / threads) * part + part / 2 + added;
        if (least < 0 || time < least) best = grid, least = time;
      }
    }
  }
  return best;
}

// Columns [depth, columns] of `right`, panel after panel, with zeros for what is not there.
template <typename Kind>
JUKEJAX_INLINE void CopyRight(const Problem& p, Range columns, Range depth, float* to) {
  constexpr int64_t kColumns = Kind::kColumns;
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
        TransposeTile(from + j * p.depth + k, p.depth, to + k * kColumns + j, kColumns,
                      typename Kind::Vector{});
      }
    }
    for (int64_t k = tiles; k < deep; ++k) {
      for (int64_t j = 0; j < count; ++j) to[k * kColumns + j] = from[j * p.depth + k];
    }
  }
}

// A few rows of `left`: as they lie [kRows, kDepth], or [depth, kRows] if transposed.
template <typename Kind>
JUKEJAX_INLINE void CopyLeft(const Problem& p, Range rows, Range depth, float* to) {
  constexpr int64_t kRows = Kind::kRows;
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

// Asks for a part of what is copied next.
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

// What was found at the edge of the result is put there, or added.
inline void AddEdge(const float* found, int64_t found_stride, int64_t rows, int64_t columns,
                    bool add, float* out, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& sum = out[r * stride + j];
      sum = (add ? sum : 0.0f) + found[r * found_stride + j];
    }
  }
}

// The product of a range of rows, columns and depth, into out [p.rows, p.columns].
template <typename Kind>
JUKEJAX_INLINE void MultiplyPart(const Problem& p, Range rows, Range columns, Range depth,
                                 float* out) {
  constexpr int64_t kRows = Kind::kRows, kColumns = Kind::kColumns;
  constexpr auto kCounts = std::make_integer_sequence<int, kRows>();
  static thread_local Scratch scratch;
  float* const left = scratch.Of((kTall + kWide) * kDepth);
  float* const right = left + kTall * kDepth;
  for (int64_t n0 = columns.begin; n0 < columns.end; n0 += kWide) {
    const Range wide{n0, std::min(n0 + kWide, columns.end)};
    const int64_t panels = (wide.size() + kColumns - 1) / kColumns;
    for (int64_t k0 = depth.begin; k0 < depth.end; k0 += kDepth) {
      const Range deep{k0, std::min(k0 + kDepth, depth.end)};
      const bool add = k0 > depth.begin;
      CopyRight<Kind>(p, wide, deep, right);
      for (int64_t m = rows.begin; m < rows.end; m += kRows) {
        const Range these{m, std::min(m + kRows, rows.end)};
        const Range next{these.end, std::min(these.end + kRows, rows.end)};
        CopyLeft<Kind>(p, these, deep, left);
        const BlockFunction block = p.left_transposed ? Pick<Kind, true>(these.size(), kCounts)
                                                      : Pick<Kind, false>(these.size(), kCounts);
        for (int64_t panel = 0; panel < panels; ++panel) {
          const float* const from = right + panel * kColumns * deep.size();
          const int64_t n = n0 + panel * kColumns;
          float* const to = out + m * p.columns + n;
          PrefetchLeft(p, next, deep, panel, panels);
          if (n + kColumns <= wide.end) {
            block(left, from, deep.size(), to, p.columns, add);
            continue;
          }
          float found[kRows * kColumns];
          block(left, from, deep.size(), found, kColumns, false);
          AddEdge(found, kColumns, these.size(), wide.end - n, add, to, p.columns);
        }
      }
    }
  }
}

#ifdef JUKEJAX_HAS_TILES

// Blocks of rows of `left` or of columns of `right`: all of `deep` for the first, then the next.
template <bool kLeft>
JUKEJAX_TILES void LayOutBlocks(const float* matrix, int64_t stride, bool transposed, Range side,
                                Range deep, uint16_t* to) {
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

// The same as MultiplyPart, with tiles.
JUKEJAX_TILES void MultiplyTiles(const Problem& p, Range rows, Range columns, Range depth,
                                 float* out) {
  // At 256 the blocks of `left` fill the L1 cache. With 128 the result is read and written twice as
  // often, with 512 neither operand fits: both were slower.
  constexpr int64_t kDeep = 256;
  constexpr int64_t kFloats = kBlock / 2 / kUnit * kDeep / kUnit;  // that a row or column takes
  const int64_t left_stride = p.left_transposed ? p.rows : p.depth;
  const int64_t right_stride = p.right_transposed ? p.depth : p.columns;
  static thread_local Scratch scratch;
  uint16_t* const left = reinterpret_cast<uint16_t*>(scratch.Of((kUnit + kWide) * kFloats));
  uint16_t* const right = left + 2 * kUnit * kFloats;
  const TilesInUse tiles;
  for (int64_t n0 = columns.begin; n0 < columns.end; n0 += kWide) {
    const Range wide{n0, std::min(n0 + kWide, columns.end)};
    for (int64_t k0 = depth.begin; k0 < depth.end; k0 += kDeep) {
      const Range deep{k0, std::min(k0 + kDeep, depth.end)};
      const int64_t count = (deep.size() + kUnit - 1) / kUnit;
      const int64_t panels = (wide.size() + kUnit - 1) / kUnit;
      const bool add = k0 > depth.begin;
      LayOutBlocks<false>(p.right, right_stride, p.right_transposed, wide, deep, right);
      for (int64_t m = rows.begin; m < rows.end; m += kUnit) {
        const Range these{m, std::min(m + kUnit, rows.end)};
        const Range next{these.end, std::min(these.end + kUnit, rows.end)};
        LayOutBlocks<true>(p.left, left_stride, p.left_transposed, these, deep, left);
        for (int64_t panel = 0; panel < panels; ++panel) {
          const uint16_t* const from = right + panel * count * kBlock;
          const int64_t n = n0 + panel * kUnit;
          const int64_t across = std::min(kUnit, wide.end - n);
          float* const to = out + m * p.columns + n;
          PrefetchLeft(p, next, deep, panel, panels);
          if (these.size() == kUnit && across == kUnit) {
            MultiplyBlocks(left, from, count, to, p.columns, add);
            continue;
          }
          alignas(64) float found[kUnit * kUnit];
          MultiplyBlocks(left, from, count, found, kUnit, false);
          AddEdge(found, kUnit, these.size(), across, add, to, p.columns);
        }
      }
    }
  }
}

#endif  // JUKEJAX_HAS_TILES

JUKEJAX_AVX512 void MultiplyAvx512(const Problem& p, Range rows, Range columns, Range depth,
                                   float* out) {
  MultiplyPart<Avx512>(p, rows, columns, depth, out);
}
JUKEJAX_AVX2 void MultiplyAvx2(const Problem& p, Range rows, Range columns, Range depth,
                               float* out) {
  MultiplyPart<Avx2>(p, rows, columns, depth, out);
}

#ifdef JUKEJAX_HAS_TILES
const bool kTilesUsed = HasTiles();
const Way kTilesWay{MultiplyTiles, kUnit, 64};
#else
constexpr bool kTilesUsed = false;
constexpr Way kTilesWay{};
#endif
const Way kWay = kTilesUsed    ? kTilesWay
                 : HasAvx512() ? Way{MultiplyAvx512, 1, 16}
                               : Way{MultiplyAvx2, 1, 16};

using Matrix = ffi::Buffer<ffi::F32>;

ffi::Error ProductImpl(ffi::ThreadPool pool, Matrix left, Matrix right,
                       ffi::ResultBuffer<ffi::F32> result, bool left_transposed,
                       bool right_transposed) {
  const auto a = left.dimensions(), b = right.dimensions();
  if (a.size() != 2 || b.size() != 2 || a[left_transposed ? 0 : 1] != b[right_transposed ? 1 : 0]) {
    return ffi::Error::InvalidArgument("matrices do not fit together");
  }
  const Problem p{left.typed_data(),     right.typed_data(),
                  a[left_transposed],    b[right_transposed],
                  b[!right_transposed],  left_transposed,
                  right_transposed};
  const Grid grid = BestGrid(p, std::max<int64_t>(1, pool.num_threads()), kWay);
  float* const out = result->typed_data();
  const int64_t size = p.rows * p.columns;
  if (p.depth == 0) {
    std::memset(out, 0, size * sizeof(float));
    return ffi::Error::Success();
  }
  static thread_local Scratch scratch;
  float* const more = scratch.Of((grid.depth - 1) * size);
  RunParts(pool, grid.Parts(), [&](int64_t part) {
    const int64_t d = part % grid.depth, c = part / grid.depth % grid.columns;
    const int64_t r = part / grid.depth / grid.columns;
    kWay.multiply(p, Range{0, p.rows}.Split(r, grid.rows, kWay.unit),
                  Range{0, p.columns}.Split(c, grid.columns, 32),
                  Range{0, p.depth}.Split(d, grid.depth, kWay.unit),
                  d == 0 ? out : more + (d - 1) * size);
  });
  AddSums(pool, more, grid.depth - 1, size, out);
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool ProductUsable() { return Usable(); }
extern "C" bool ProductUsesTiles() { return kTilesUsed; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Product, ProductImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Matrix>()
                                  .Ret<Matrix>()
                                  .Attr<bool>("left_transposed")
                                  .Attr<bool>("right_transposed"));
