// Products of float32 matrices on CPUs, as an XLA custom call (jax.ffi).
//
//   out[M, N] = left right    left [M, K], or [K, M] if it is transposed
//                             right [K, N], or [N, K] if it is transposed
//
// and what would else be a pass over memory of its own: see finish.h.
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
#include "finish.h"
#include "parts.h"
#include "scratch.h"
#include "tiles.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kWide = 512;  // columns of `right` that are copied at once, kDeep of them deep
constexpr int64_t kTall = 16;   // at least the rows of a block
constexpr int64_t kPartsOfThread = 4;

// How a product is shared out: each part has some rows, columns and depth.
struct Grid {
  int64_t rows, columns, depth;

  int64_t Parts() const { return rows * columns * depth; }
};

struct Part {
  Range rows, columns, depth;
  float* out;   // [p.rows, p.columns]
  float* sums;  // [p.columns] of `right`, or null

  bool Whole(const Problem& p) const { return depth.size() == p.depth; }
};

// How a processor multiplies.
struct Way {
  void (*multiply)(const Problem& p, const Part& part);
  void (*finish)(const Problem& p, Range rows, Range columns);
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

// Asks for a part of the rows of `left` that are copied next.
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

// A part of the product, by one of the kinds below.
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
            alignas(64) float found[kRows * kColumns];
            Kind::Block(p, left, from, these.size(), deep.size(), found, kColumns, false);
            AddEdge(found, kColumns, these.size(), across.size(), add, to, p.columns);
          }
          if (last) Finish<typename Kind::Vector, typename Kind::Int>(p, these, across);
        }
      }
    }
  }
}

// With vectors, by a form of block.h.
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

  // Columns [depth, columns] of `right`, panel after panel, with zeros for what is not there.
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

  // A few rows of `left`: as they lie [kRows, kDepth], or [depth, kRows] if transposed.
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

  // Blocks of rows of `left` or of columns of `right`: all of `deep` for the first, then the next.
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

const bool kTilesUsed = HasTiles();
const Way kTilesWay{MultiplyTiles, FinishAvx512, kUnit, 64};
#else
constexpr bool kTilesUsed = false;
constexpr Way kTilesWay{};
#endif  // JUKEJAX_HAS_TILES

const Way kWay = kTilesUsed    ? kTilesWay
                 : HasAvx512() ? Way{MultiplyAvx512, FinishAvx512, 1, 16}
                               : Way{MultiplyAvx2, FinishAvx2, 1, 16};

using Matrix = ffi::Buffer<ffi::F32>;

// Args:
//   more: none, a bias [N], or a bias and a residual [M, N].
//   results: none, or one: with `gelu` the activated [M, N], else the sums [N] of right's columns.
ffi::Error ProductImpl(ffi::ThreadPool pool, Matrix left, Matrix right, ffi::RemainingArgs more,
                       ffi::ResultBuffer<ffi::F32> result, ffi::RemainingRets results,
                       bool left_transposed, bool right_transposed, bool gelu) {
  const auto a = left.dimensions(), b = right.dimensions();
  if (a.size() != 2 || b.size() != 2 || a[left_transposed ? 0 : 1] != b[right_transposed ? 1 : 0]) {
    return ffi::Error::InvalidArgument("matrices do not fit together");
  }
  Problem p{left.typed_data(), right.typed_data(), a[left_transposed], b[right_transposed],
            b[!right_transposed], left_transposed, right_transposed};
  p.out = result->typed_data();
  const int64_t size = p.rows * p.columns, sizes[] = {p.columns, size};
  for (size_t i = 0; i < more.size(); ++i) {
    const auto given = more.get<Matrix>(i);
    if (i > 1 || !given.has_value() || int64_t(given->element_count()) != sizes[i]) {
      return ffi::Error::InvalidArgument("the bias or the residual does not fit the product");
    }
    (i == 0 ? p.bias : p.residual) = given->typed_data();
  }
  float* rest = nullptr;
  if (results.size() > 0) rest = (*results.get<Matrix>(0))->typed_data();
  if (gelu) p.activated = rest;
  float* const sums = gelu ? nullptr : rest;
  if (sums != nullptr && right_transposed) {
    return ffi::Error::InvalidArgument("sums are only of a matrix that is not transposed");
  }

  const Grid grid = BestGrid(p, std::max<int64_t>(1, pool.num_threads()), kWay);
  static thread_local Scratch scratch;
  float* const products = scratch.Of((grid.depth - 1) * (size + p.columns));
  float* const more_sums = products + (grid.depth - 1) * size;
  const Range rows{0, p.rows}, columns{0, p.columns};
  if (p.depth == 0) {
    std::memset(p.out, 0, size * sizeof(float));
    if (sums != nullptr) std::memset(sums, 0, p.columns * sizeof(float));
    kWay.finish(p, rows, columns);
    return ffi::Error::Success();
  }
  RunParts(pool, grid.Parts(), [&](int64_t index) {
    const int64_t d = index % grid.depth, c = index / grid.depth % grid.columns;
    const int64_t r = index / grid.depth / grid.columns;
    float* const sums_here = d == 0 ? sums : more_sums + (d - 1) * p.columns;
    kWay.multiply(p, Part{rows.Split(r, grid.rows, kWay.unit), columns.Split(c, grid.columns, 32),
                          Range{0, p.depth}.Split(d, grid.depth, kWay.unit),
                          d == 0 ? p.out : products + (d - 1) * size,
                          sums != nullptr && r == 0 ? sums_here : nullptr});
  });
  if (grid.depth > 1) {
    AddSums(pool, products, grid.depth - 1, size, p.out);
    if (sums != nullptr) AddSums(pool, more_sums, grid.depth - 1, p.columns, sums);
    if (p.bias != nullptr) {
      RunParts(pool, grid.rows, [&](int64_t part) {
        kWay.finish(p, rows.Split(part, grid.rows, 1), columns);
      });
    }
  }
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
                                  .RemainingArgs()
                                  .Ret<Matrix>()
                                  .RemainingRets()
                                  .Attr<bool>("left_transposed")
                                  .Attr<bool>("right_transposed")
                                  .Attr<bool>("gelu"));
