// Layer normalization on CPUs, as XLA custom calls (jax.ffi): a row is read from memory once.
//
//   Forward   y = hat * scale + bias, hat = (x - mean) * deviation     x, y [N, E], scale, bias [E]
//   Backward  dx, and the sums over rows of dy * hat and of dy, with hat computed again
//
// All float32; E is a multiple of 16. Threads divide the rows; their sums are added in order, so
// that one number of threads always gives the same bits.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "parts.h"
#include "scratch.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kPartsOfThread = 4;  // threads are never equally fast
constexpr int64_t kFewest = 64;        // rows of a part

struct Problem {
  const float* x;
  const float* scale;
  const float* bias;  // null in the backward pass
  const float* dy;    // null in the forward pass
  float* out;         // y or dx
  int64_t rows, width;
  float epsilon;
};

template <typename Vector, typename Int>
struct Form {
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);

  static JUKEJAX_INLINE float Sum(Vector vector) { return SumLanes<Vector, Int>(vector)[0]; }

  struct Moments {
    float mean, deviation;  // the latter is 1 / sqrt(variance + epsilon)
  };

  static JUKEJAX_INLINE Moments Of(const Problem& p, const float* x) {
    const float share = 1.0f / static_cast<float>(p.width);
    Vector sum = {}, squares = {};
    for (int64_t i = 0; i < p.width; i += kLanes) sum += Load<Vector>(x + i);
    const float mean = Sum(sum) * share;
    for (int64_t i = 0; i < p.width; i += kLanes) {
      const Vector centred = Load<Vector>(x + i) - mean;
      squares += centred * centred;
    }
    return {mean, 1.0f / std::sqrt(Sum(squares) * share + p.epsilon)};
  }

  static JUKEJAX_INLINE void Forward(const Problem& p, int64_t begin, int64_t end, float*) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const x = p.x + row * p.width;
      float* const y = p.out + row * p.width;
      const Moments m = Of(p, x);
      for (int64_t i = 0; i < p.width; i += kLanes) {
        const Vector hat = (Load<Vector>(x + i) - m.mean) * m.deviation;
        Store(hat * Load<Vector>(p.scale + i) + Load<Vector>(p.bias + i), y + i);
      }
    }
  }

  // sums [2, width]: of dy * hat and of dy.
  static JUKEJAX_INLINE void Backward(const Problem& p, int64_t begin, int64_t end, float* sums) {
    const float share = 1.0f / static_cast<float>(p.width);
    float* const of_scale = sums;
    float* const of_bias = sums + p.width;
    std::memset(sums, 0, 2 * p.width * sizeof(float));
    for (int64_t row = begin; row < end; ++row) {
      const float* const x = p.x + row * p.width;
      const float* const dy = p.dy + row * p.width;
      float* const dx = p.out + row * p.width;
      const Moments m = Of(p, x);
      Vector inner = {}, along = {};
      for (int64_t i = 0; i < p.width; i += kLanes) {
        const Vector given = Load<Vector>(dy + i);
        const Vector through = given * Load<Vector>(p.scale + i);
        const Vector hat = (Load<Vector>(x + i) - m.mean) * m.deviation;
        inner += through;
        along += through * hat;
        Store(Load<Vector>(of_scale + i) + given * hat, of_scale + i);
        Store(Load<Vector>(of_bias + i) + given, of_bias + i);
      }
      const float mean_inner = Sum(inner) * share, mean_along = Sum(along) * share;
      for (int64_t i = 0; i < p.width; i += kLanes) {
        const Vector hat = (Load<Vector>(x + i) - m.mean) * m.deviation;
        const Vector through = Load<Vector>(dy + i) * Load<Vector>(p.scale + i);
        Store((through - mean_inner - hat * mean_along) * m.deviation, dx + i);
      }
    }
  }
};

using Work = void (*)(const Problem&, int64_t, int64_t, float*);

JUKEJAX_AVX512 void ForwardAvx512(const Problem& p, int64_t begin, int64_t end, float* sums) {
  Form<Wide, WideInt>::Forward(p, begin, end, sums);
}
JUKEJAX_AVX512 void BackwardAvx512(const Problem& p, int64_t begin, int64_t end, float* sums) {
  Form<Wide, WideInt>::Backward(p, begin, end, sums);
}
JUKEJAX_AVX2 void ForwardAvx2(const Problem& p, int64_t begin, int64_t end, float* sums) {
  Form<Narrow, NarrowInt>::Forward(p, begin, end, sums);
}
JUKEJAX_AVX2 void BackwardAvx2(const Problem& p, int64_t begin, int64_t end, float* sums) {
  Form<Narrow, NarrowInt>::Backward(p, begin, end, sums);
}

const Work kForward = HasAvx512() ? ForwardAvx512 : ForwardAvx2;
const Work kBackward = HasAvx512() ? BackwardAvx512 : BackwardAvx2;

int64_t Parts(ffi::ThreadPool& pool, int64_t rows) {
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  return std::max<int64_t>(1, std::min(kPartsOfThread * threads, rows / kFewest));
}

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

ffi::Error ForwardImpl(ffi::ThreadPool pool, Array x, Array scale, Array bias, Result y,
                       float epsilon) {
  const int64_t rows = x.dimensions()[0], parts = Parts(pool, rows);
  const Problem p{x.typed_data(), scale.typed_data(), bias.typed_data(),  nullptr,
                  y->typed_data(), rows,              x.dimensions()[1], epsilon};
  RunParts(pool, parts, [&](int64_t part) {
    kForward(p, part * rows / parts, (part + 1) * rows / parts, nullptr);
  });
  return ffi::Error::Success();
}

ffi::Error BackwardImpl(ffi::ThreadPool pool, Array x, Array scale, Array dy, Result dx,
                        Result of_scale, Result of_bias, float epsilon) {
  static thread_local Scratch scratch;
  const int64_t rows = x.dimensions()[0], width = x.dimensions()[1], parts = Parts(pool, rows);
  const Problem p{x.typed_data(),   scale.typed_data(), nullptr, dy.typed_data(),
                  dx->typed_data(), rows,               width,   epsilon};
  float* const sums = scratch.Of(parts * 2 * width);
  RunParts(pool, parts, [&](int64_t part) {
    kBackward(p, part * rows / parts, (part + 1) * rows / parts, sums + part * 2 * width);
  });
  for (int64_t i = 0; i < width; ++i) {
    float by_hat = 0.0f, plain = 0.0f;
    for (int64_t part = 0; part < parts; ++part) {
      by_hat += sums[part * 2 * width + i];
      plain += sums[(part * 2 + 1) * width + i];
    }
    of_scale->typed_data()[i] = by_hat;
    of_bias->typed_data()[i] = plain;
  }
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool NormUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Forward, ForwardImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(Backward, BackwardImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<float>("epsilon"));
