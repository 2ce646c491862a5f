// Vectors of float32 for AVX-512 and AVX2, by the compilers' vector extensions.

#ifndef JUKEJAX_OPS_VECTORS_H_
#define JUKEJAX_OPS_VECTORS_H_

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define JUKEJAX_INLINED __attribute__((always_inline))
#define JUKEJAX_INLINE inline JUKEJAX_INLINED
#define JUKEJAX_AVX512 __attribute__((target("avx512f,fma")))
#define JUKEJAX_AVX2 __attribute__((target("avx2,fma,f16c")))

typedef float Wide __attribute__((vector_size(64)));
typedef float Narrow __attribute__((vector_size(32)));
typedef int32_t WideInt __attribute__((vector_size(64)));
typedef int32_t NarrowInt __attribute__((vector_size(32)));

constexpr int64_t kLine = 16;  // floats of a cache line

// The jaxlib whose headers a library was compiled with: each library exports it, and is refused
// under another (ops/cpu/library.py).
extern "C" __attribute__((used)) inline const char* JukejaxJaxlib() { return JUKEJAX_JAXLIB; }

template <typename Vector>
JUKEJAX_INLINE Vector Load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

template <typename Vector>
JUKEJAX_INLINE void Store(Vector vector, float* to) {
  std::memcpy(to, &vector, sizeof(vector));
}

// Loads `count` entries, padded with zeros.
template <typename Vector>
JUKEJAX_INLINE Vector LoadSome(const float* from, int64_t count) {
  if (count * sizeof(float) >= sizeof(Vector)) return Load<Vector>(from);
  Vector vector = {};
  std::memcpy(&vector, from, count * sizeof(float));
  return vector;
}

template <typename Vector>
JUKEJAX_INLINE void StoreSome(Vector vector, float* to, int64_t count) {
  if (count * sizeof(float) >= sizeof(Vector)) return Store(vector, to);
  std::memcpy(to, &vector, count * sizeof(float));
}

// Returns the vector with its lanes combined pairwise: every lane has the result.
template <typename Vector, typename Int, typename Combine>
JUKEJAX_INLINE Vector Reduce(Vector vector, Combine combine) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
#pragma GCC unroll 4
  for (int step = kLanes / 2; step > 0; step /= 2) {
    Int other;
    for (int i = 0; i < kLanes; ++i) other[i] = i ^ step;
    vector = combine(vector, __builtin_shuffle(vector, other));
  }
  return vector;
}

// Returns the sum of the lanes in every lane.
template <typename Vector, typename Int>
JUKEJAX_INLINE Vector SumLanes(Vector vector) {
  return Reduce<Vector, Int>(vector, [](Vector a, Vector b) JUKEJAX_INLINED { return a + b; });
}

// e^x for x <= 0, to about 1e-7 of it (Cody and Waite's reduction, Cephes' polynomial); NaN stays.
template <typename Vector, typename Int>
JUKEJAX_INLINE Vector Exp(Vector x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Vector zero = {};
  const Vector at_least = x < zero - 87.0f ? zero - 87.0f : x;
  const Vector shifted = at_least * 1.44269504088896341f + kRound;
  const Vector whole = shifted - kRound;
  const Vector r = at_least - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector power = r * 1.9875691500e-4f + 1.3981999507e-3f;
  power = power * r + 8.3334519073e-3f;
  power = power * r + 4.1665795894e-2f;
  power = power * r + 1.6666665459e-1f;
  power = power * r + 5.0000001201e-1f;
  power = power * (r * r) + r + 1.0f;
  const Int exponent = ((Int)shifted - (Int)(zero + kRound)) << 23;
  return x == x ? (Vector)((Int)power + exponent) : x;
}

// log(x) of normal numbers > 0, to about 1e-7 of it (Cephes' polynomial).
template <typename Vector, typename Int>
JUKEJAX_INLINE Vector Log(Vector x) {
  constexpr float kRootOfHalf = 0.707106781186547524f;
  const Vector zero = {};
  const Vector fraction = (Vector)(((Int)x & 0x007FFFFF) | 0x3F000000);  // in [0.5, 1)
  const Int is_small = fraction < zero + kRootOfHalf;                    // all bits if true
  const Vector exponent = __builtin_convertvector(((Int)x >> 23) - 126 + is_small, Vector);
  const Vector r = fraction - 1.0f + (Vector)((Int)fraction & is_small);
  Vector series = r * 7.0376836292e-2f - 1.1514610310e-1f;
  series = series * r + 1.1676998740e-1f;
  series = series * r - 1.2420140846e-1f;
  series = series * r + 1.4249322787e-1f;
  series = series * r - 1.6668057665e-1f;
  series = series * r + 2.0000714765e-1f;
  series = series * r - 2.4999993993e-1f;
  series = series * r + 3.3333331174e-1f;
  const Vector square = r * r;
  series = series * (r * square) - exponent * 2.12194440e-4f - square * 0.5f;
  return r + series + exponent * 0.693359375f;
}

constexpr int64_t kTile = 16;  // rows and columns that are transposed at once

// to[j][i] = from[i][j], 16 x 16.
template <typename Vector>
inline void TransposeTile(const float* from, int64_t stride, float* to, int64_t lead) {
  for (int64_t i = 0; i < kTile; ++i) {
    for (int64_t j = 0; j < kTile; ++j) to[j * lead + i] = from[i * stride + j];
  }
}

template <>
JUKEJAX_AVX512 inline void TransposeTile<Wide>(const float* from, int64_t stride, float* to,
                                               int64_t lead) {
  __m512 r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * stride);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = (__m512d)t[4 * i], b = (__m512d)t[4 * i + 1];
    const __m512d c = (__m512d)t[4 * i + 2], d = (__m512d)t[4 * i + 3];
    r[4 * i] = (__m512)_mm512_unpacklo_pd(a, c);
    r[4 * i + 1] = (__m512)_mm512_unpackhi_pd(a, c);
    r[4 * i + 2] = (__m512)_mm512_unpacklo_pd(b, d);
    r[4 * i + 3] = (__m512)_mm512_unpackhi_pd(b, d);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_ps(to + i * lead, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_ps(to + (i + 4) * lead, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_storeu_ps(to + (i + 8) * lead, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    _mm512_storeu_ps(to + (i + 12) * lead, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

// NOTE: the variable is for tests of the AVX2 forms on processors with AVX-512.
inline bool HasAvx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && std::getenv("JUKEJAX_NO_AVX512") == nullptr;
}
inline bool HasAvx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
inline bool Usable() { return HasAvx512() || HasAvx2(); }

#endif  // JUKEJAX_OPS_VECTORS_H_
