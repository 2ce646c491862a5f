// The gradient of a convolution's kernel on CPUs, as an XLA custom call (jax.ffi).
//
// Threads divide the summands, and their sums are added in order, so that one number of threads
// always gives the same bits.

#include "kernel_gradient.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parts.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

ffi::Error SumsImpl(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> dy,
                    ffi::ResultBuffer<ffi::F32> out, int64_t taps, int64_t dilation) {
  const auto in = x.dimensions(), grad = dy.dimensions();
  if (in.size() != 3 || grad.size() != 3 || in[0] != grad[0] || in[1] != grad[1]) {
    return ffi::Error::InvalidArgument("x and dy must be [B, T, C] and [B, T, D]");
  }
  const KernelGradient problem{x.typed_data(), dy.typed_data(), in[0],    in[1], in[2],
                               grad[2],        taps,            dilation, false};
  const int64_t blocks = problem.Blocks(), size = problem.OutputSize();
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t parts = std::max<int64_t>(1, std::min(threads, blocks));
  std::vector<float> more((parts - 1) * size);
  const auto sum = [&](int64_t part) {
    return part == 0 ? out->typed_data() : more.data() + (part - 1) * size;
  };
  RunParts(pool, parts, [&](int64_t part) {
    std::memset(sum(part), 0, size * sizeof(float));
    kAddBlocks(problem, part * blocks / parts, (part + 1) * blocks / parts, sum(part));
  });
  AddSums(pool, more.data(), parts - 1, size, sum(0));
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool KernelGradientUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Sums, SumsImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("taps")
                                  .Attr<int64_t>("dilation"));
