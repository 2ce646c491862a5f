// Attention of one new position over a cache of keys and values, as an XLA custom call (jax.ffi).
//
//   qkv [B, 3, H, D], or q [B, 1, H, D]    key, value [B, G, H, S, D], or [B, H, S, D]
//   out [B, H, D]
//
// The scaled key and the value of the position are written into the cache, in place, and q attends
// to the first slots of one group: out = softmax(q key') value. For each head of a sequence these
// slots are contiguous and are read once from memory. Heads are divided among the threads.
//
// All float32, or the cache float16, which is half as much to read. A head's result has the same
// bits in every batch.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "halves.h"
#include "parts.h"
#include "scratch.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kPartsOfThread = 4;       // threads are never equally fast
constexpr int64_t kSmallestPart = 1 << 14;  // numbers of the cache

template <typename Number>
struct Problem {
  using Stored = Number;
  const float* qkv;
  Stored* key;
  Stored* value;
  float* out;
  int64_t batch, parts, groups, heads, slots, dim;
  // Where to write, if write_slot >= 0; and the slots of a group that are visible. All zeros are
  // attended to if there are none.
  int64_t write_group, write_slot, read_group, visible;

  // Returns the query (0), key (1) or value (2) of head `i` of all sequences.
  const float* New(int64_t i, int64_t part) const {
    return qkv + ((i / heads * parts + part) * heads + i % heads) * dim;
  }

  // Returns the index in the cache of a group of head `i` of all sequences.
  int64_t At(int64_t i, int64_t group) const {
    return ((i / heads * groups + group) * heads + i % heads) * slots * dim;
  }
};

template <typename Stored>
JUKEJAX_INLINE void Prefetch(const Stored* from, int64_t size) {
  constexpr int64_t kOfLine = kLine * sizeof(float) / sizeof(Stored);
  for (int64_t i = 0; i < size; i += kOfLine) __builtin_prefetch(from + i, 0, 2);
}

template <typename Vector, typename Int>
struct Form {
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);

  template <typename Stored>
  static JUKEJAX_INLINE void CopyScaled(const float* from, float scale, int64_t size, Stored* to) {
    for (int64_t i = 0; i < size; i += kLanes) {
      const int64_t count = std::min(size - i, kLanes);
      StoreSomeStored(LoadSome<Vector>(from + i, count) * scale, to + i, count);
    }
  }

  // Returns the sum of each of kLanes vectors: entry i is that of vectors[i].
  static JUKEJAX_INLINE Vector Sums(Vector* vectors) {
    // The first half of the lanes of `pairs` are sums of neighbors of one vector, the second half
    // those of another: half as many vectors in each round.
    Int even, odd;
    for (int64_t i = 0; i < kLanes; ++i) even[i] = 2 * i, odd[i] = 2 * i + 1;
#pragma GCC unroll 4
    for (int64_t count = kLanes; count > 1; count /= 2) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < count / 2; ++i) {
        vectors[i] = __builtin_shuffle(vectors[2 * i], vectors[2 * i + 1], even) +
                     __builtin_shuffle(vectors[2 * i], vectors[2 * i + 1], odd);
      }
    }
    return vectors[0];
  }

  // Returns the products of q with kLanes keys; `some` of the dim features are after whole vectors.
  template <bool kSome, typename Stored>
  static JUKEJAX_INLINE Vector ScoreBlock(const float* q, const Stored* key, int64_t dim,
                                          int64_t some) {
    Vector sums[kLanes];
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) sums[i] = Vector{};  // not an initializer: that is memory
    const int64_t whole = dim - some;
    for (int64_t d = 0; d < whole; d += kLanes) {
      const Vector from_q = Load<Vector>(q + d);
      const Stored* row = key + d;
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i, row += dim) {
        sums[i] += from_q * LoadStored<Vector>(row);
      }
    }
    if (kSome) {
      const Vector from_q = LoadSome<Vector>(q + whole, some);
      const Stored* row = key + whole;
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i, row += dim) {
        sums[i] += from_q * LoadSomeStored<Vector>(row, some);
      }
    }
    return Sums(sums);
  }

  // scores[s] = q key[s] for the visible slots. There are at least kLanes slots.
  template <typename Stored>
  static JUKEJAX_INLINE void Score(const float* q, const Stored* key, int64_t visible,
                                   int64_t slots, int64_t dim, float* scores) {
    const int64_t some = dim % kLanes;
    for (int64_t s = 0; s < visible; s += kLanes) {
      const int64_t first = std::min(s, slots - kLanes);  // some scores may be computed twice
      const Stored* const rows = key + first * dim;
      Store(some ? ScoreBlock<true>(q, rows, dim, some) : ScoreBlock<false>(q, rows, dim, 0),
            scores + first);
    }
  }

  // Replaces the visible scores by their softmax.
  static JUKEJAX_INLINE void Softmax(int64_t visible, float* scores) {
    Vector most = Vector{} - INFINITY, sum = {};
    Int lane;
    for (int64_t i = 0; i < kLanes; ++i) lane[i] = i;
    const Vector lowest = most;
    const auto masked = [&](Vector vector, int64_t s, Vector otherwise) JUKEJAX_INLINED {
      return lane < static_cast<int32_t>(visible - s) ? vector : otherwise;
    };
    for (int64_t s = 0; s < visible; s += kLanes) {
      const Vector score = masked(Load<Vector>(scores + s), s, lowest);
      most = score > most ? score : most;
    }
    most = Reduce<Vector, Int>(most, [](Vector a, Vector b) JUKEJAX_INLINED {
      return a > b ? a : b;
    });
    for (int64_t s = 0; s < visible; s += kLanes) {
      const Vector power = Exp<Vector, Int>(Load<Vector>(scores + s) - most);
      Store(power, scores + s);
      sum += masked(power, s, Vector{});
    }
    const Vector share = 1.0f / SumLanes<Vector, Int>(sum);
    for (int64_t s = 0; s < visible; s += kLanes) {
      Store(Load<Vector>(scores + s) * share, scores + s);
    }
  }

  // out = the sum of probs[s] value[s], of kCount vectors of features, or of `some` < kLanes.
  template <int kCount, bool kSome = false, typename Stored>
  static JUKEJAX_INLINE void Mix(const float* probs, const Stored* value, int64_t visible,
                                 int64_t dim, float* out, int64_t some = kLanes) {
    constexpr int kRows = kCount == 1 ? 4 : 1;  // slots with sums of their own
    Vector sums[kRows][kCount] = {};
    const auto add = [&](int64_t s, int r) JUKEJAX_INLINED {
      const Stored* const row = value + s * dim;
      const Vector prob = probs[s] - Vector{};
      for (int i = 0; i < kCount; ++i) {
        const Stored* const from = row + i * kLanes;
        sums[r][i] += prob * (kSome ? LoadSomeStored<Vector>(from, some) : LoadStored<Vector>(from));
      }
    };
    int64_t s = 0;
    for (; s + kRows <= visible; s += kRows) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) add(s + r, r);
    }
    for (; s < visible; ++s) add(s, 0);
    for (int i = 0; i < kCount; ++i) {
      for (int r = 1; r < kRows; ++r) sums[0][i] += sums[r][i];
      StoreSome(sums[0][i], out + i * kLanes, some);
    }
  }

  template <typename Stored>
  static JUKEJAX_INLINE void MixAll(const float* probs, const Stored* value, int64_t visible,
                                    int64_t dim, float* out) {
    int64_t d = 0;
    for (; d + 8 * kLanes <= dim; d += 8 * kLanes) Mix<8>(probs, value + d, visible, dim, out + d);
    for (; d + 2 * kLanes <= dim; d += 2 * kLanes) Mix<2>(probs, value + d, visible, dim, out + d);
    for (; d + kLanes <= dim; d += kLanes) Mix<1>(probs, value + d, visible, dim, out + d);
    if (d < dim) Mix<1, true>(probs, value + d, visible, dim, out + d, dim - d);
  }

  // Writes the new position of head `i` of all sequences, and attends from it.
  //
  // Args:
  //   scratch: for q, few keys and scores.
  //   next: a head whose keys and values are prefetched, or -1.
  template <typename Stored>
  static JUKEJAX_INLINE void RunHead(const Problem<Stored>& p, int64_t i, int64_t next,
                                     float* scratch) {
    const float scale = 1.0f / std::sqrt(std::sqrt(static_cast<float>(p.dim)));
    const int64_t written = p.At(i, p.write_group) + p.write_slot * p.dim;
    const int64_t read = p.At(i, p.read_group), seen = p.visible * p.dim;
    float* const q = scratch;
    float* const scores = q + p.dim;
    // The keys, if there are fewer slots than kLanes.
    Stored* const few = reinterpret_cast<Stored*>(scores + p.slots + 2 * kLanes);
    CopyScaled(p.New(i, 0), scale, p.dim, q);
    if (p.write_slot >= 0) {
      CopyScaled(p.New(i, 1), scale, p.dim, p.key + written);
      CopyScaled(p.New(i, 2), 1.0f, p.dim, p.value + written);
    }
    float* const out = p.out + i * p.dim;
    if (p.visible == 0) {
      std::memset(out, 0, p.dim * sizeof(float));
      return;
    }
    const Stored* keys = p.key + read;
    if (p.slots < kLanes) {
      std::memset(few, 0, kLanes * p.dim * sizeof(Stored));
      std::memcpy(few, keys, seen * sizeof(Stored));
      keys = few;
    }
    if (next >= 0) Prefetch(p.key + p.At(next, p.read_group), seen);
    Score(q, keys, p.visible, std::max(p.slots, kLanes), p.dim, scores);
    Softmax(p.visible, scores);
    if (next >= 0) Prefetch(p.value + p.At(next, p.read_group), seen);
    MixAll(scores, p.value + read, p.visible, p.dim, out);
  }

  // Computes heads begin to end - 1 of all sequences.
  template <typename Stored>
  static JUKEJAX_INLINE void Run(const Problem<Stored>& p, int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    float* const floats = scratch.Of((1 + kLanes) * p.dim + p.slots + 2 * kLanes);
    for (int64_t i = begin; i < end; ++i) RunHead(p, i, i + 1 < end ? i + 1 : -1, floats);
  }
};

template <typename Stored>
JUKEJAX_AVX512 void RunAvx512(const Problem<Stored>& p, int64_t begin, int64_t end) {
  Form<Wide, WideInt>::Run(p, begin, end);
}
template <typename Stored>
JUKEJAX_AVX2 void RunAvx2(const Problem<Stored>& p, int64_t begin, int64_t end) {
  Form<Narrow, NarrowInt>::Run(p, begin, end);
}

const bool kHasAvx512 = HasAvx512();

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

template <typename Stored>
void RunAll(ffi::ThreadPool pool, const Problem<Stored>& p) {
  const int64_t heads = p.batch * p.heads;
  const int64_t threads = std::max<int64_t>(1, pool.num_threads());
  const int64_t most = std::max<int64_t>(1, heads * p.visible * p.dim / kSmallestPart);
  const int64_t parts = std::min({heads, kPartsOfThread * threads, most});
  auto* const run = kHasAvx512 ? RunAvx512<Stored> : RunAvx2<Stored>;
  RunParts(pool, parts, [&](int64_t part) {
    run(p, part * heads / parts, (part + 1) * heads / parts);
  });
}

template <typename Stored>
ffi::Error StepWith(ffi::ThreadPool pool, Array qkv, ffi::AnyBuffer key, ffi::AnyBuffer value,
                    ffi::Buffer<ffi::S32> slots, Result out, ffi::Result<ffi::AnyBuffer> new_key,
                    ffi::Result<ffi::AnyBuffer> new_value) {
  const auto shape = key.dimensions(), of_new = qkv.dimensions();
  const int64_t axes = shape.size();
  if (axes < 4 || axes > 5 || of_new.size() != 4) {
    return ffi::Error::InvalidArgument("a cache has four or five axes, and a position has four");
  }
  Problem<Stored> p{qkv.typed_data(), static_cast<Stored*>(new_key->untyped_data()),
                    static_cast<Stored*>(new_value->untyped_data()), out->typed_data()};
  p.batch = shape[0], p.parts = of_new[1], p.groups = axes == 5 ? shape[1] : 1;
  p.heads = shape[axes - 3], p.slots = shape[axes - 2], p.dim = shape[axes - 1];
  if (of_new[0] != p.batch || of_new[2] != p.heads || of_new[3] != p.dim ||
      (p.parts != 1 && p.parts != 3) || value.element_count() != key.element_count() ||
      slots.element_count() != 4) {
    return ffi::Error::InvalidArgument("the new position and the cache do not fit together");
  }
  if (new_key->untyped_data() != key.untyped_data() ||
      new_value->untyped_data() != value.untyped_data()) {
    return ffi::Error::InvalidArgument("the cache must be updated in place");
  }
  const int32_t* const at = slots.typed_data();
  p.write_group = at[0], p.write_slot = at[1], p.read_group = at[2], p.visible = at[3];
  if ((p.write_slot >= 0 && p.parts == 1) || p.write_group < 0 || p.write_group >= p.groups ||
      p.write_slot >= p.slots || p.read_group < 0 || p.read_group >= p.groups || p.visible < 0 ||
      p.visible > p.slots) {
    return ffi::Error::InvalidArgument("a slot is outside the cache");
  }
  RunAll(pool, p);
  return ffi::Error::Success();
}

// Args:
//   slots: write_group, write_slot (-1: nothing is written), read_group, visible.
//   new_key, new_value: share the memory of key and value.
ffi::Error StepImpl(ffi::ThreadPool pool, Array qkv, ffi::AnyBuffer key, ffi::AnyBuffer value,
                    ffi::Buffer<ffi::S32> slots, Result out, ffi::Result<ffi::AnyBuffer> new_key,
                    ffi::Result<ffi::AnyBuffer> new_value) {
  const auto type = key.element_type();
  if (value.element_type() != type || new_key->element_type() != type ||
      new_value->element_type() != type || (type != ffi::F32 && type != ffi::F16)) {
    return ffi::Error::InvalidArgument("a cache is float32 or float16");
  }
  const auto step = type == ffi::F16 ? StepWith<Float16> : StepWith<float>;
  return step(pool, qkv, key, value, slots, out, new_key, new_value);
}

}  // namespace

extern "C" bool CachedAttentionUsable() { return Usable(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(Step, StepImpl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<Array>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());
