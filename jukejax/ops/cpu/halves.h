// Numbers that are stored in 16 or 8 bits and computed with in float32.

#ifndef JUKEJAX_OPS_HALVES_H_
#define JUKEJAX_OPS_HALVES_H_

#include <cstdint>
#include <cstring>

#include "vectors.h"

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// The vectors of integers that become a vector of floats.
template <typename Vector>
struct Integers;
template <>
struct Integers<Wide> {
  typedef uint16_t Halves __attribute__((vector_size(32)));
  typedef int8_t Bytes __attribute__((vector_size(16)));
  using Int = WideInt;
};
template <>
struct Integers<Narrow> {
  typedef uint16_t Halves __attribute__((vector_size(16)));
  typedef int8_t Bytes __attribute__((vector_size(8)));
  using Int = NarrowInt;
};

template <typename Vector>
JUKEJAX_INLINE Vector LoadStored(const float* from) {
  return Load<Vector>(from);
}
template <typename Vector>
JUKEJAX_INLINE Vector LoadStored(const Bfloat16* from) {
  typename Integers<Vector>::Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return (Vector)(__builtin_convertvector(halves, typename Integers<Vector>::Int) << 16);
}
// NOTE: an intrinsic cannot be inlined here, in a function that is not compiled for one processor.
template <typename Vector>
JUKEJAX_INLINE Vector LoadStored(const Float16* from) {
  typename Integers<Vector>::Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  Vector vector;
  __asm__("vcvtph2ps %1, %0" : "=v"(vector) : "vm"(halves));
  return vector;
}
template <typename Vector>
JUKEJAX_INLINE Vector LoadStored(const int8_t* from) {
  typename Integers<Vector>::Bytes bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(
      __builtin_convertvector(bytes, typename Integers<Vector>::Int), Vector);
}

// Loads `count` numbers, padded with zeros.
template <typename Vector, typename Stored>
JUKEJAX_INLINE Vector LoadSomeStored(const Stored* from, int64_t count) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  if (count >= kLanes) return LoadStored<Vector>(from);
  Stored padded[kLanes] = {};
  std::memcpy(padded, from, count * sizeof(Stored));
  return LoadStored<Vector>(padded);
}

template <typename Vector>
JUKEJAX_INLINE void StoreSomeStored(Vector vector, float* to, int64_t count) {
  StoreSome(vector, to, count);
}
// Rounds to the nearest.
template <typename Vector>
JUKEJAX_INLINE void StoreSomeStored(Vector vector, Float16* to, int64_t count) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);
  typename Integers<Vector>::Halves halves;
  __asm__("vcvtps2ph $0, %1, %0" : "=v"(halves) : "v"(vector));
  std::memcpy(to, &halves, (count < kLanes ? count : kLanes) * sizeof(Float16));
}

#endif  // JUKEJAX_OPS_HALVES_H_
