// Attention over the rows and columns of a grid on CPUs, as XLA custom calls (jax.ffi).
//
// Queries, keys and values are read in place from the projection's output, qkv [B, T, 3, H, D], and
// their gradients have the same layout. T positions lie in rows of `block_len`. A group of queries
// and the keys it sees is a small attention by itself, for each head: its scores stay in a core's
// L2 cache (up to 256 positions), and the backward pass computes them again (Dao et al. 2022,
// "FlashAttention", without its tiles, for a group is small). Scores are held by key, [S, Q]: then
// softmax runs down the columns and needs no sums across a vector.
//
//   kind 1: a row, causal    kind 2: a column, causal    kind 3: a row and the whole row before it
//
// All float32; D and the sizes of groups are multiples of 16, groups of at most 512.

#include <algorithm>
#include <cstdint>

#include "group.h"
#include "parts.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

JUKEJAX_AVX512 void ForwardAvx512(const Problem& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) Form<Wide, WideInt>::Forward(p, i);
}
JUKEJAX_AVX512 void BackwardAvx512(const Problem& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) Form<Wide, WideInt>::Backward(p, i);
}
JUKEJAX_AVX2 void ForwardAvx2(const Problem& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) Form<Narrow, NarrowInt>::Forward(p, i);
}
JUKEJAX_AVX2 void BackwardAvx2(const Problem& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) Form<Narrow, NarrowInt>::Backward(p, i);
}

auto* const kForward = HasAvx512() ? ForwardAvx512 : ForwardAvx2;
auto* const kBackward = HasAvx512() ? BackwardAvx512 : BackwardAvx2;

// Work(p, begin, end) on all groups.
ffi::Error Run(ffi::ThreadPool& pool, const Problem& p,
               void (*work)(const Problem&, int64_t, int64_t)) {
  if (p.dim % kLine || p.Size() % kLine || p.Size() > kMost || p.time % p.block_len) {
    return ffi::Error::InvalidArgument("sizes must be multiples of 16, groups of at most 512");
  }
  constexpr int64_t kPartsOfThread = 8;  // threads are never equally fast
  const int64_t groups = p.Groups();
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t parts = std::min(groups, kPartsOfThread * threads);
  RunParts(pool, parts, [&](int64_t part) {
    work(p, part * groups / parts, (part + 1) * groups / parts);
  });
  return ffi::Error::Success();
}

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

ffi::Error ForwardImpl(ffi::ThreadPool pool, Array qkv, Result out, Result stats, int64_t kind,
                       int64_t block_len) {
  const auto shape = qkv.dimensions();
  const Problem p{qkv.typed_data(), nullptr,  out->typed_data(), stats->typed_data(), shape[0],
                  shape[1],         shape[3], shape[4],          block_len,           kind};
  return Run(pool, p, kForward);
}

ffi::Error BackwardImpl(ffi::ThreadPool pool, Array qkv, Array stats, Array grad, Result out,
                        int64_t kind, int64_t block_len) {
  const auto shape = qkv.dimensions();
  const Problem p{qkv.typed_data(), grad.typed_data(), out->typed_data(), stats.typed_data(),
                  shape[0],         shape[1],          shape[3],          shape[4],
                  block_len,        kind};
  return Run(pool, p, kBackward);
}

}  // namespace

extern "C" bool AttentionUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Forward, ForwardImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("kind")
                                  .Attr<int64_t>("block_len"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(Backward, BackwardImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("kind")
                                  .Attr<int64_t>("block_len"));
