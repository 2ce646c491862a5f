// Vectors of float32 for AVX-512 and AVX2, by the compilers' vector extensions.

#ifndef JUKEJAX_OPS_VECTORS_H_
#define JUKEJAX_OPS_VECTORS_H_

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define JUKEJAX_INLINED __attribute__((always_inline))
#define JUKEJAX_INLINE inline JUKEJAX_INLINED
#define JUKEJAX_AVX512 __attribute__((target("avx512f,fma")))
#define JUKEJAX_AVX2 __attribute__((target("avx2,fma")))

typedef float Wide __attribute__((vector_size(64)));
typedef float Narrow __attribute__((vector_size(32)));
typedef int32_t WideInt __attribute__((vector_size(64)));
typedef int32_t NarrowInt __attribute__((vector_size(32)));

constexpr int64_t kLine = 16;  // floats of a cache line

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

// NOTE: the variable is for tests of the AVX2 forms on processors that would never use them.
inline bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && std::getenv("JUKEJAX_NO_AVX512") == nullptr;
}
inline bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#endif  // JUKEJAX_OPS_VECTORS_H_
