// Gumbel noise from counters on CPUs, as an XLA custom call (jax.ffi).
//
//   keys [B, 2], positions [N, B]    out [N, B, V] = -log(-log(uniform))
//
// The uniform numbers are made of the bits of Threefry-2x32 (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3"), of 20 rounds, in JAX's order: the key of a position is the cipher
// of (0, position), and its words i and i + V / 2 are the cipher of these two numbers.

#include <algorithm>
#include <cstdint>

#include "parts.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kSmallestPart = 1 << 12;  // numbers
constexpr int64_t kPartsOfThread = 4;       // threads are never equally fast

typedef uint32_t WideWords __attribute__((vector_size(64)));
typedef uint32_t NarrowWords __attribute__((vector_size(32)));

// Encrypts the words x and y, numbers or vectors.
template <typename Words>
JUKEJAX_INLINE void Encrypt(uint32_t key0, uint32_t key1, Words& x, Words& y) {
  constexpr int kRotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const uint32_t keys[3] = {key0, key1, key0 ^ key1 ^ 0x1BD11BDA};
  x += keys[0], y += keys[1];
#pragma GCC unroll 5
  for (int group = 0; group < 5; ++group) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int bits = kRotations[group % 2][i];
      x += y;
      y = (y << bits | y >> (32 - bits)) ^ x;
    }
    x += keys[(group + 1) % 3];
    y += keys[(group + 2) % 3] + static_cast<uint32_t>(group + 1);
  }
}

template <typename Vector, typename Int, typename Words>
struct Form {
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);

  static JUKEJAX_INLINE Vector Gumbel(Words bits) {
    constexpr float kTiny = 1.17549435e-38f;
    const Vector uniform = (Vector)(bits >> 9 | 0x3F800000u) - 1.0f;
    const Vector positive = uniform > Vector{} + kTiny ? uniform : Vector{} + kTiny;
    return -Log<Vector, Int>(-Log<Vector, Int>(positive));
  }

  static JUKEJAX_INLINE void Run(const uint32_t* key, int32_t position, int64_t size, float* out) {
    uint32_t key0 = 0, key1 = static_cast<uint32_t>(position);
    Encrypt(key[0], key[1], key0, key1);
    const int64_t half = (size + 1) / 2;
    Words lane;
    for (int64_t i = 0; i < kLanes; ++i) lane[i] = i;
    for (int64_t i = 0; i < half; i += kLanes) {
      Words first = lane + static_cast<uint32_t>(i);
      Words second = first + static_cast<uint32_t>(half);
      second = second < static_cast<uint32_t>(size) ? second : Words{};  // of an odd number
      Encrypt(key0, key1, first, second);
      StoreSome((Vector)first, out + i, std::min(kLanes, half - i));
      StoreSome((Vector)second, out + half + i, std::clamp<int64_t>(size - half - i, 0, kLanes));
    }
    // In a loop of its own: the steps of both are long chains, and more of the short ones overlap.
    for (int64_t i = 0; i < size; i += kLanes) {
      const int64_t count = std::min(kLanes, size - i);
      StoreSome(Gumbel((Words)LoadSome<Vector>(out + i, count)), out + i, count);
    }
  }
};

JUKEJAX_AVX512 void RunAvx512(const uint32_t* key, int32_t position, int64_t size, float* out) {
  Form<Wide, WideInt, WideWords>::Run(key, position, size, out);
}
JUKEJAX_AVX2 void RunAvx2(const uint32_t* key, int32_t position, int64_t size, float* out) {
  Form<Narrow, NarrowInt, NarrowWords>::Run(key, position, size, out);
}

auto* const kRun = HasAvx512() ? RunAvx512 : RunAvx2;

ffi::Error GumbelImpl(ffi::ThreadPool pool, ffi::Buffer<ffi::U32> keys,
                      ffi::Buffer<ffi::S32> positions, ffi::ResultBuffer<ffi::F32> out) {
  const int64_t items = positions.element_count(), batch = keys.element_count() / 2;
  if (batch == 0 || items % batch || out->element_count() % items) {
    return ffi::Error::InvalidArgument("keys, positions and noise do not fit together");
  }
  const int64_t size = out->element_count() / items;
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t most = std::max<int64_t>(1, items * size / kSmallestPart);
  const int64_t parts = std::min({items, kPartsOfThread * threads, most});
  RunParts(pool, parts, [&](int64_t part) {
    for (int64_t i = part * items / parts; i < (part + 1) * items / parts; ++i) {
      kRun(keys.typed_data() + i % batch * 2, positions.typed_data()[i], size,
           out->typed_data() + i * size);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

extern "C" bool NoiseUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Gumbel, GumbelImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
