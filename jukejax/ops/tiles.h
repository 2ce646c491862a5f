// Products of float32 by processors that multiply tiles (Intel AMX).
//
// They multiply bfloat16 and sum in float32, 16 times as fast as they multiply float32. A float32 is
// the sum of three bfloat16, its planes, so that
//
//   a b = a0 b0 + a0 b1 + a1 b0 + a1 b1 + a0 b2 + a2 b0 + less than 2^-24 of it:
//
// six products of bfloat16 are one of float32, as exact as sums of such products are (Henry, Tang
// and Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
// computations"). Infinity becomes NaN: it has no planes.

#ifndef JUKEJAX_OPS_TILES_H_
#define JUKEJAX_OPS_TILES_H_

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "vectors.h"

#define JUKEJAX_TILES \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))

namespace {  // each library has its own

// Rows, columns and depth of a block: two tiles of the left operand times two of the right one.
constexpr int64_t kUnit = 32;
constexpr int64_t kSide = 16;                 // rows of a tile, each of 64 bytes
constexpr int kPlanes = 3;
constexpr int64_t kTileSize = kSide * kUnit;  // bfloat16 in a tile
constexpr int64_t kPlane = 2 * kTileSize;     // in a block's two tiles of one plane
constexpr int64_t kBlock = kPlanes * kPlane;  // in a block's tiles of all planes

// Whether there are tiles and the system lets this process use them. The variable is for tests.
inline bool HasTiles() {
  constexpr long kAskPermission = 0x1023, kTileData = 18;  // of arch_prctl
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!HasAvx512() || std::getenv("JUKEJAX_NO_TILES") != nullptr) return false;
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if ((d >> 22 & 1) == 0 || (d >> 24 & 1) == 0) return false;  // AMX-BF16, AMX-TILE
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a >> 5 & 1) == 0) return false;  // AVX512-BF16
  return syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
}

struct Planes {
  __m512i plane[kPlanes];
};

// 32 entries of a row, in order.
JUKEJAX_TILES JUKEJAX_INLINE Planes SplitRow(__m512 first, __m512 second) {
  Planes found;
#pragma GCC unroll 3
  for (int i = 0; i < kPlanes; ++i) {
    const __m512i v = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    const __m256i low = _mm512_castsi512_si256(v), high = _mm512_extracti64x4_epi64(v, 1);
    found.plane[i] = v;
    first -= (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(low), 16);
    second -= (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
  }
  return found;
}

// 16 entries of two rows, side by side.
JUKEJAX_TILES JUKEJAX_INLINE Planes SplitPair(__m512 even, __m512 odd) {
  alignas(64) static constexpr uint16_t kOrder[32] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i order = _mm512_load_si512(kOrder), high = _mm512_set1_epi32(0xffff0000);
  Planes found;
#pragma GCC unroll 3
  for (int i = 0; i < kPlanes; ++i) {
    const __m512i v = _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
    found.plane[i] = v;
    even -= (__m512)_mm512_slli_epi32(v, 16);
    odd -= (__m512)_mm512_and_si512(v, high);
  }
  return found;
}

// Lays out a tile of all planes. Pairs of neighbours lie side by side in it: with kPairs two rows of
// 16 columns, of which there are 16 pairs; else two columns, of which 16 rows have 16 pairs.
// kTurned: then the rows of the tile become its columns, pair by pair.
template <bool kPairs, bool kTurned>
JUKEJAX_TILES void LayOutTile(const float* from, int64_t stride, uint16_t* to) {
  for (int64_t i = 0; i < kSide; ++i) {
    const float* const row = from + (kPairs ? 2 * i : i) * stride;
    const __m512 first = _mm512_loadu_ps(row);
    const __m512 second = _mm512_loadu_ps(kPairs ? row + stride : row + kSide);
    const Planes split = kPairs ? SplitPair(first, second) : SplitRow(first, second);
    for (int plane = 0; plane < kPlanes; ++plane) {
      _mm512_store_si512(to + plane * kPlane + i * kUnit, split.plane[plane]);
    }
  }
  if (!kTurned) return;
  for (int plane = 0; plane < kPlanes; ++plane) {
    float* const tile = reinterpret_cast<float*>(to + plane * kPlane);
    TransposeTile(tile, kSide, tile, kSide, Wide{});
  }
}

// The same where only some rows and columns are there, and zeros are to be in place of the others.
template <bool kPairs, bool kTurned>
JUKEJAX_TILES void LayOut(const float* from, int64_t stride, int64_t rows, int64_t columns,
                          uint16_t* to) {
  constexpr int64_t kRows = kPairs ? kUnit : kSide, kColumns = kPairs ? kSide : kUnit;
  if (rows >= kRows && columns >= kColumns) return LayOutTile<kPairs, kTurned>(from, stride, to);
  alignas(64) float some[kRows * kColumns] = {};
  const int64_t count = std::max<int64_t>(0, std::min(columns, kColumns));
  for (int64_t i = 0; i < std::min(rows, kRows); ++i) {
    std::memcpy(some + i * kColumns, from + i * stride, count * sizeof(float));
  }
  LayOutTile<kPairs, kTurned>(some, kColumns, to);
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide};
};

// NOTE: no local variable, whose initialisation GCC drops, for it believes that of the 64 bytes eight
// are read.
constexpr TileConfig kTileConfig;

// Tiles can be used while there is one of these.
struct TilesInUse {
  JUKEJAX_TILES TilesInUse() { _tile_loadconfig(&kTileConfig); }
  JUKEJAX_TILES ~TilesInUse() { _tile_release(); }
};

// out[32, 32] = left right, or is added to. Both are `count` blocks, one after the other.
JUKEJAX_TILES inline void MultiplyBlocks(const uint16_t* left, const uint16_t* right, int64_t count,
                                         float* out, int64_t stride, bool add) {
  const int64_t bytes = stride * sizeof(float);
  float* const below = out + kSide * stride;
  if (add) {
    _tile_loadd(0, out, bytes);
    _tile_loadd(1, out + kSide, bytes);
    _tile_loadd(2, below, bytes);
    _tile_loadd(3, below + kSide, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
#define JUKEJAX_LEFT(plane)                                 \
  _tile_loadd(4, left + (plane) * kPlane, 2 * kUnit);       \
  _tile_loadd(5, left + (plane) * kPlane + kTileSize, 2 * kUnit)
#define JUKEJAX_RIGHT(plane)                                \
  _tile_loadd(6, right + (plane) * kPlane, 2 * kUnit);      \
  _tile_loadd(7, right + (plane) * kPlane + kTileSize, 2 * kUnit)
#define JUKEJAX_ADD         \
  _tile_dpbf16ps(0, 4, 6);  \
  _tile_dpbf16ps(1, 4, 7);  \
  _tile_dpbf16ps(2, 5, 6);  \
  _tile_dpbf16ps(3, 5, 7)
  for (int64_t k = 0; k < count; ++k, left += kBlock, right += kBlock) {
    JUKEJAX_LEFT(2);
    JUKEJAX_RIGHT(0);
    JUKEJAX_ADD;
    JUKEJAX_LEFT(1);
    JUKEJAX_ADD;
    JUKEJAX_RIGHT(1);
    JUKEJAX_ADD;
    JUKEJAX_LEFT(0);
    JUKEJAX_ADD;
    JUKEJAX_RIGHT(2);
    JUKEJAX_ADD;
    JUKEJAX_RIGHT(0);
    JUKEJAX_ADD;
  }
#undef JUKEJAX_LEFT
#undef JUKEJAX_RIGHT
#undef JUKEJAX_ADD
  _tile_stored(0, out, bytes);
  _tile_stored(1, out + kSide, bytes);
  _tile_stored(2, below, bytes);
  _tile_stored(3, below + kSide, bytes);
}

}  // namespace

#endif  // JUKEJAX_OPS_TILES_H_
