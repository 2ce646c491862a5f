// Convolutions at the same length, and residual blocks, on CPUs, as XLA custom calls (jax.ffi).
//
// A residual block, x + scale * (relu(conv(relu(x)) + bias) matrix + out_bias), is a few products
// between arrays that do not fit a cache. Here it is one pass over them forward and two backward:
// all operations are applied to a few positions at a time, in a core's cache.
//
// Threads divide the positions; sums over all of them are added in order, so that one number of
// threads always gives the same bits.
//
// Letters: B batch, T time, C channels, D channels out, H hidden channels.

#include "convolution.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "kernel_gradient.h"
#include "parts.h"
#include "scratch.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kPartsOfThread = 4;
constexpr int64_t kPositions = 56;      // that go through all at a time
constexpr int64_t kMostSums = 1 << 22;  // of all parts together

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

struct Range {
  int64_t begin, end;  // positions of all windows together
};

// Calls work(positions, sums) for all positions of `batch` windows, each call within one window,
// and adds the sums of all calls, as many as the results have entries.
void ForPositions(ffi::ThreadPool& pool, int64_t batch, int64_t time, int64_t at_once,
                  std::vector<Result> results, const std::function<void(Range, float*)>& work) {
  int64_t size = 0;
  for (Result& result : results) size += result->element_count();
  const int64_t in_window = (time + at_once - 1) / at_once, pieces = batch * in_window;
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t most = size == 0 ? pieces : std::min(pieces, kMostSums / size);
  const int64_t parts = std::max<int64_t>(1, std::min(kPartsOfThread * threads, most));
  Scratch scratch;
  float* const sums = scratch.Of(parts * size);
  RunParts(pool, parts, [&](int64_t part) {
    float* const own = sums + part * size;
    std::memset(own, 0, size * sizeof(float));
    for (int64_t piece = part * pieces / parts; piece < (part + 1) * pieces / parts; ++piece) {
      const int64_t first = piece / in_window * time, t = piece % in_window * at_once;
      work({first + t, first + std::min(time, t + at_once)}, own);
    }
  });
  if (size == 0) return;
  AddSums(pool, sums + size, parts - 1, size, sums);
  const float* from = sums;
  for (Result& result : results) {
    std::memcpy(result->typed_data(), from, result->size_bytes());
    from += result->element_count();
  }
}

// sums[d] += array[t, d] for some rows.
template <typename Vector>
JUKEJAX_INLINE void AddRowsBy(const float* array, int64_t width, Range rows, float* sums) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  for (int64_t t = rows.begin; t < rows.end; ++t) {
    const float* const row = array + t * width;
    int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) {
      Store(Load<Vector>(sums + d) + Load<Vector>(row + d), sums + d);
    }
    for (; d < width; ++d) sums[d] += row[d];
  }
}

JUKEJAX_AVX512 void AddRowsAvx512(const float* array, int64_t width, Range rows, float* sums) {
  AddRowsBy<Wide>(array, width, rows, sums);
}
JUKEJAX_AVX2 void AddRowsAvx2(const float* array, int64_t width, Range rows, float* sums) {
  AddRowsBy<Narrow>(array, width, rows, sums);
}

auto* const kAddRows = HasAvx512() ? AddRowsAvx512 : AddRowsAvx2;

// Adds a gradient's summands at these positions, which are one of its blocks.
void AddBlock(const KernelGradient& p, Range positions, float* sums) {
  const int64_t window = positions.begin / p.time, t = positions.begin % p.time;
  const int64_t block = window * p.BlocksInWindow() + t / p.BlockLength();
  kAddBlocks(p, block, block + 1, sums);
}

// Returns whether x [B, T, C] fits a kernel [taps, C, D].
bool Fits(const Array& x, const Array& kernel) {
  const auto in = x.dimensions(), of = kernel.dimensions();
  return in.size() == 3 && of.size() == 3 && in[2] == of[1] && of[0] % 2 == 1;
}

// Returns whether arrays are over the same positions.
bool Beside(const Array& x, const Array& y) {
  const auto a = x.dimensions(), b = y.dimensions();
  return a.size() == 3 && b.size() == 3 && a[0] == b[0] && a[1] == b[1];
}

bool IsMatrix(const Array& matrix, int64_t rows, int64_t columns) {
  const auto of = matrix.dimensions();
  return of.size() == 2 && of[0] == rows && of[1] == columns;
}

bool IsVector(const Array& vector, int64_t size) {
  return vector.dimensions().size() == 1 && vector.dimensions()[0] == size;
}

ffi::Error Misfit() { return ffi::Error::InvalidArgument("operands do not fit together"); }

// out = conv(x).
ffi::Error PlainImpl(ffi::ThreadPool pool, Array x, Array kernel, Result out, int64_t dilation) {
  if (!Fits(x, kernel)) return Misfit();
  const auto in = x.dimensions(), of = kernel.dimensions();
  Convolution conv{x.typed_data(), kernel.typed_data(), out->typed_data(), in[0], in[1], in[2],
                   of[2],          of[0],               dilation};
  Scratch memory;
  const float* const laid_out = LayOut(conv, memory);
  ForPositions(pool, in[0], in[1], kPositions, {},
               [&](Range t, float*) { kConvolve(conv, laid_out, t.begin, t.end); });
  return ffi::Error::Success();
}

// hidden = relu(conv(relu(x)) + bias), out = x + scale * (hidden matrix + out_bias).
ffi::Error ForwardImpl(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Array matrix,
                       Array out_bias, Result hidden, Result out, int64_t dilation, float scale) {
  if (!Fits(x, kernel)) return Misfit();
  const auto in = x.dimensions(), of = kernel.dimensions();
  const bool second_fits = IsMatrix(matrix, of[2], in[2]) && IsVector(out_bias, in[2]);
  if (!second_fits || !IsVector(bias, of[2])) return Misfit();
  Convolution first{x.typed_data(), kernel.typed_data(), hidden->typed_data(), in[0], in[1], in[2],
                    of[2],          of[0],               dilation};
  first.relu_in = first.relu_out = true;
  first.bias = bias.typed_data();
  Convolution second{hidden->typed_data(), matrix.typed_data(), out->typed_data(),
                     in[0],                in[1],               of[2],
                     in[2]};
  second.bias = out_bias.typed_data();
  second.added = x.typed_data();
  second.scale = scale;
  Scratch of_first, of_second;
  const float* const kernels[] = {LayOut(first, of_first), LayOut(second, of_second)};
  ForPositions(pool, in[0], in[1], kPositions, {}, [&](Range t, float*) {
    kConvolve(first, kernels[0], t.begin, t.end);
    kConvolve(second, kernels[1], t.begin, t.end);
  });
  return ffi::Error::Success();
}

// Gradients of the hidden channels, with dy [B, T, C], hidden [B, T, H] and the transposed matrix
// [C, H]: dhidden = dy matrix^T where hidden is above zero, dmatrix = hidden^T dy, dout_bias and
// dbias the sums of dy and dhidden over all positions. All without the block's scale but dhidden
// and dbias.
ffi::Error HiddenImpl(ffi::ThreadPool pool, Array dy, Array hidden, Array turned, Result dhidden,
                      Result dmatrix, Result dout_bias, Result dbias, float scale) {
  if (!Beside(dy, hidden)) return Misfit();
  const auto in = dy.dimensions();
  const int64_t width = in[2], features = hidden.dimensions()[2];
  if (!IsMatrix(turned, width, features)) return Misfit();
  Convolution conv{dy.typed_data(), turned.typed_data(), dhidden->typed_data(), in[0], in[1], width,
                   features};
  conv.scale = scale;
  conv.mask = hidden.typed_data();
  const KernelGradient gradient{hidden.typed_data(), dy.typed_data(), in[0], in[1], features,
                                width,               1,               1,     false};
  Scratch memory;
  const float* const laid_out = LayOut(conv, memory);
  ForPositions(pool, in[0], in[1], gradient.BlockLength(), {dmatrix, dout_bias, dbias},
               [&](Range t, float* sums) {
                 kConvolve(conv, laid_out, t.begin, t.end);
                 AddBlock(gradient, t, sums);
                 sums += features * width;
                 kAddRows(dy.typed_data(), width, t, sums);
                 kAddRows(dhidden->typed_data(), features, t, sums + width);
               });
  return ffi::Error::Success();
}

// Gradients of x, with the transposed kernel [taps, H, C]: dx = dy + conv(dhidden) where x is above
// zero, and the gradient dkernel [taps, C, H].
ffi::Error InputImpl(ffi::ThreadPool pool, Array dhidden, Array x, Array dy, Array turned,
                     Result dx, Result dkernel, int64_t dilation) {
  if (!Fits(dhidden, turned) || !Beside(x, dhidden) || !Beside(x, dy)) return Misfit();
  if (turned.dimensions()[2] != x.dimensions()[2] || dy.dimensions()[2] != x.dimensions()[2]) {
    return Misfit();
  }
  const auto in = x.dimensions(), of = turned.dimensions();
  Convolution conv{dhidden.typed_data(), turned.typed_data(), dx->typed_data(), in[0], in[1], of[1],
                   in[2],                of[0],               dilation};
  conv.mask = x.typed_data();
  conv.added = dy.typed_data();
  const KernelGradient gradient{x.typed_data(), dhidden.typed_data(), in[0],    in[1], in[2],
                                of[1],          of[0],                dilation, true};
  Scratch memory;
  const float* const laid_out = LayOut(conv, memory);
  ForPositions(pool, in[0], in[1], gradient.BlockLength(), {dkernel}, [&](Range t, float* sums) {
    kConvolve(conv, laid_out, t.begin, t.end);
    AddBlock(gradient, t, sums);
  });
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool ConvolutionUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Plain, PlainImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("dilation"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(Forward, ForwardImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<float>("scale"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(Hidden, HiddenImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<float>("scale"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(Input, InputImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("dilation"));
