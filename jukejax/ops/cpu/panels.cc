// Products of a few rows with a matrix whose columns lie in panels, as an XLA custom call (jax.ffi).
//
//   out[M, N] = (x[M, K] matrix[K, N]) * scale[N]
//
// with scale, bias, quick GELU and residual where there are any (finish.h). The matrix is stored as
// panels [P, K, 32]: 32 of its columns, row by row, the last panel padded. A part multiplies all
// rows of x with some panels, so that a panel is read from memory once, in order, and for the next
// rows from the core's cache; up to 14 x 32 sums stay in registers.
//
// An entry of the result is the sum of its products in the order of K, whatever M is: a row has the
// same bits in every batch. x and the result are float32; the matrix is float32, float16,
// bfloat16 or int8.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "finish.h"
#include "parts.h"
#include "halves.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kPanel = 32;               // columns of a panel
constexpr int64_t kPartsOfThread = 4;        // threads are never equally fast
constexpr int64_t kSmallestPart = 1 << 16;   // multiplications
constexpr int64_t kAhead = 8192;             // bytes from a weight to the one that is prefetched
constexpr int kFewestPrefetched = 5;         // rows

// The kernel for one kind of processor: kRows x kVectors registers hold sums.
template <typename VectorType, typename IntType, int rows, int vectors>
struct Form {
  using Vector = VectorType;
  using Int = IntType;
  static constexpr int kRows = rows, kVectors = vectors;
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  static constexpr int64_t kColumns = kVectors * kLanes;

  // out[count, kColumns] = x[count, depth] times kColumns of a panel, of which the weights that are
  // `ahead` are prefetched. With few rows the processor's own prefetching is faster.
  template <int count, typename Weight>
  static JUKEJAX_INLINE void Block(const float* x, const Weight* panel, int64_t depth,
                                   int64_t ahead, float* out, int64_t stride) {
    Vector sums[count][kVectors] = {};
    for (int64_t k = 0; k < depth; ++k, panel += kPanel) {
      Vector weights[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        weights[v] = LoadStored<Vector>(panel + v * kLanes);
        if (count >= kFewestPrefetched) __builtin_prefetch(panel + v * kLanes + ahead, 0, 2);
      }
#pragma GCC unroll 16
      for (int r = 0; r < count; ++r) {
        const Vector from_x = x[r * depth + k] - Vector{};
        for (int v = 0; v < kVectors; ++v) sums[r][v] += from_x * weights[v];
      }
    }
    for (int r = 0; r < count; ++r) {
      for (int v = 0; v < kVectors; ++v) Store(sums[r][v], out + r * stride + v * kLanes);
    }
  }
};

// A function for each processor, since a template cannot have a target attribute.
struct Avx512 : Form<Wide, WideInt, 14, 2> {
  template <int count, typename Weight>
  JUKEJAX_AVX512 static void Run(const float* x, const Weight* panel, int64_t depth, int64_t ahead,
                                 float* out, int64_t stride) {
    Block<count>(x, panel, depth, ahead, out, stride);
  }
};
struct Avx2 : Form<Narrow, NarrowInt, 6, 2> {
  template <int count, typename Weight>
  JUKEJAX_AVX2 static void Run(const float* x, const Weight* panel, int64_t depth, int64_t ahead,
                               float* out, int64_t stride) {
    Block<count>(x, panel, depth, ahead, out, stride);
  }
};

template <typename Weight>
using BlockFunction = void (*)(const float*, const Weight*, int64_t, int64_t, float*, int64_t);

template <typename Kind, typename Weight, int... kCounts>
BlockFunction<Weight> PickBlock(int64_t count, std::integer_sequence<int, kCounts...>) {
  static constexpr BlockFunction<Weight> kBlocks[] = {
      Kind::template Run<kCounts + 1, Weight>...};
  return kBlocks[count - 1];
}

template <typename Vector>
JUKEJAX_INLINE void Scale(const float* scale, Range rows, Range columns, float* out,
                          int64_t stride) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  for (int64_t m = rows.begin; m < rows.end; ++m) {
    for (int64_t n = columns.begin; n < columns.end; n += kLanes) {
      const int64_t count = std::min(kLanes, columns.end - n);
      float* const to = out + m * stride + n;
      StoreSome(LoadSome<Vector>(to, count) * LoadSome<Vector>(scale + n, count), to, count);
    }
  }
}

// Computes the columns of some panels. `scale` may be null.
template <typename Kind, typename Weight>
JUKEJAX_INLINE void Multiply(const Problem& p, const Weight* matrix, const float* scale,
                             Range panels) {
  using Vector = typename Kind::Vector;
  constexpr auto kCounts = std::make_integer_sequence<int, Kind::kRows>();
  constexpr int64_t kColumns = Kind::kColumns;
  const Range all_rows{0, p.rows};
  const int64_t blocks = (p.rows + Kind::kRows - 1) / Kind::kRows;
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    const Weight* const from = matrix + panel * p.depth * kPanel;
    for (int64_t block = 0; block < blocks; ++block) {
      const Range rows = all_rows.Split(block, blocks, 1);
      const auto multiply = PickBlock<Kind, Weight>(rows.size(), kCounts);
      const float* const x = p.left + rows.begin * p.depth;
      const int64_t ahead = block == 0 ? kAhead / sizeof(Weight) : 0;
      const int64_t end = std::min((panel + 1) * kPanel, p.columns);
      for (int64_t n = panel * kPanel; n < end; n += kColumns) {
        const Range columns{n, std::min(n + kColumns, end)};
        float* const to = p.out + rows.begin * p.columns + n;
        if (columns.size() == kColumns) {
          multiply(x, from + n % kPanel, p.depth, ahead, to, p.columns);
        } else {
          alignas(64) float edge[Kind::kRows * kColumns];
          multiply(x, from + n % kPanel, p.depth, ahead, edge, kColumns);
          for (int64_t r = 0; r < rows.size(); ++r) {
            std::copy_n(edge + r * kColumns, columns.size(), to + r * p.columns);
          }
        }
        if (scale != nullptr) Scale<Vector>(scale, rows, columns, p.out, p.columns);
        Finish<Vector, typename Kind::Int>(p, rows, columns);
      }
    }
  }
}

template <typename Weight>
JUKEJAX_AVX512 void MultiplyAvx512(const Problem& p, const Weight* matrix, const float* scale,
                                   Range panels) {
  Multiply<Avx512>(p, matrix, scale, panels);
}
template <typename Weight>
JUKEJAX_AVX2 void MultiplyAvx2(const Problem& p, const Weight* matrix, const float* scale,
                               Range panels) {
  Multiply<Avx2>(p, matrix, scale, panels);
}

const bool kWide = HasAvx512();

template <typename Weight>
void Run(ffi::ThreadPool& pool, const Problem& p, const void* matrix, const float* scale) {
  const auto multiply = kWide ? MultiplyAvx512<Weight> : MultiplyAvx2<Weight>;
  const Range panels{0, (p.columns + kPanel - 1) / kPanel};
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t most = std::max<int64_t>(1, p.rows * p.depth * p.columns / kSmallestPart);
  const int64_t parts = std::min({panels.end, kPartsOfThread * threads, most});
  RunParts(pool, parts, [&](int64_t part) {
    multiply(p, static_cast<const Weight*>(matrix), scale, panels.Split(part, parts, 1));
  });
}

using Matrix = ffi::Buffer<ffi::F32>;

// Args:
//   addends: a scale [N] if `scaled`; then none, a bias [N], or a bias and a residual [M, N].
ffi::Error PanelProductImpl(ffi::ThreadPool pool, Matrix x, ffi::AnyBuffer matrix,
                            ffi::RemainingArgs addends, ffi::ResultBuffer<ffi::F32> out,
                            bool scaled, bool gelu) {
  const auto shape = x.dimensions(), stored = matrix.dimensions(), result = out->dimensions();
  if (shape.size() != 2 || stored.size() != 3 || stored[1] != shape[1] || stored[2] != kPanel ||
      result.size() != 2 || result[0] != shape[0] || result[1] > stored[0] * kPanel) {
    return ffi::Error::InvalidArgument("rows and panels do not fit together");
  }
  Problem p{x.typed_data(), nullptr, shape[0], shape[1], result[1], false, false};
  p.out = out->typed_data();
  const int64_t sizes[] = {p.columns, p.columns, p.rows * p.columns};
  const float* addend[3] = {};
  const size_t first = scaled ? 0 : 1;
  for (size_t i = first; i < first + addends.size(); ++i) {
    const auto given = addends.get<Matrix>(i - first);
    if (i > 2 || !given.has_value() || int64_t(given->element_count()) != sizes[i]) {
      return ffi::Error::InvalidArgument("the scale, the bias or the residual does not fit");
    }
    addend[i] = given->typed_data();
  }
  p.bias = addend[1], p.residual = addend[2];
  if (gelu) p.activated = p.out;
  const void* const data = matrix.untyped_data();
  switch (matrix.element_type()) {
    case ffi::F32:
      Run<float>(pool, p, data, addend[0]);
      break;
    case ffi::F16:
      Run<Float16>(pool, p, data, addend[0]);
      break;
    case ffi::BF16:
      Run<Bfloat16>(pool, p, data, addend[0]);
      break;
    case ffi::S8:
      Run<int8_t>(pool, p, data, addend[0]);
      break;
    default:
      return ffi::Error::InvalidArgument("a matrix is float32, float16, bfloat16 or int8");
  }
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool PanelsUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(PanelProduct, PanelProductImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<Matrix>()
                                  .Attr<bool>("scaled")
                                  .Attr<bool>("gelu"));
