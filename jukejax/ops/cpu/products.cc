// Products of float32 matrices on CPUs, as an XLA custom call (jax.ffi).
//
//   out[M, N] = left right    left [M, K], or [K, M] if it is transposed
//                             right [K, N], or [N, K] if it is transposed
//
// and what would otherwise be another pass over memory: see finish.h.
//
// A part's operands are copied in blocks for the L1 and the L2 cache, and a few rows of the result
// stay in registers while products are added (multiply.h; Goto and van de Geijn 2008, "Anatomy of
// high-performance matrix multiplication"). Parts divide the result, or the summands if these are
// more; then their sums are added in order, so that one number of threads always gives the same
// bits. Processors with tiles multiply with these (tiles.h), others with vectors (block.h).

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "finish.h"
#include "multiply.h"
#include "parts.h"
#include "scratch.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kPartsOfThread = 4;

// The partition of a product: each part has some rows, columns and depth.
struct Grid {
  int64_t rows, columns, depth;

  int64_t Parts() const { return rows * columns * depth; }
};

// The functions of one kind of processor.
struct Way {
  void (*multiply)(const Problem& p, const Part& part);
  void (*finish)(const Problem& p, Range rows, Range columns);
  int64_t unit;  // parts begin at multiples of it, along rows and depth
  double speed;  // multiplications in the time of copying an entry, of the size that was fastest
};

// Returns the grid with the shortest estimated time for multiplying, copying, adding, and waiting
// for the last part. Threads are never equally fast, so there are more parts than threads.
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

#ifdef JUKEJAX_HAS_TILES
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
