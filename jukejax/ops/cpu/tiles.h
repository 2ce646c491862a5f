// Float32 products on processors that multiply tiles (Intel AMX).
//
// Tiles multiply bfloat16 and sum in float32, 16 times as fast as vectors multiply float32. A
// float32 is the sum of three bfloat16, its planes, so that
//
//   a b = a0 b0 + a0 b1 + a1 b0 + a1 b1 + a0 b2 + a2 b0 + less than 2^-24 of it:
//
// six products of bfloat16 are one of float32, as exact as sums of such products are (Henry, Tang
// and Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
// computations"). At the ends of the range it is not: what rounds to infinity as a bfloat16 (from
// 3.396e38) becomes NaN, and below about 1e-31 digits are lost, since tiles treat subnormals as
// zeros.

#ifndef JUKEJAX_OPS_TILES_H_
#define JUKEJAX_OPS_TILES_H_

// Since GCC 11 and clang 12.
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define JUKEJAX_HAS_TILES
#endif

#ifdef JUKEJAX_HAS_TILES

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "vectors.h"

#define JUKEJAX_TILES __attribute__((target("avx512f,fma,amx-tile,amx-bf16")))

namespace {  // each library has its own

// Rows, columns and depth of a block: two tiles of the left operand times two of the right one.
constexpr int64_t kUnit = 32;
constexpr int64_t kSide = 16;                 // rows of a tile, each of 64 bytes
constexpr int kPlanes = 3;
constexpr int64_t kTileSize = kSide * kUnit;  // bfloat16 in a tile
constexpr int64_t kPlane = 2 * kTileSize;     // in a block's two tiles of one plane
constexpr int64_t kBlock = kPlanes * kPlane;  // in a block's tiles of all planes

// Returns whether the processor and the system support tiles. The variable is for tests.
inline bool HasTiles() {
  constexpr long kAskPermission = 0x1023, kTileData = 18;  // of arch_prctl
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!HasAvx512() || std::getenv("JUKEJAX_NO_TILES") != nullptr) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if ((d >> 22 & 1) == 0 || (d >> 24 & 1) == 0) return false;  // AMX-BF16, AMX-TILE
  return syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
}

// Lays out a tile of all planes: of the left operand [16, 32], of the right one [32, 16]. The
// processor multiplies pairs of adjacent entries; here entries k and k + 16 of the depth are a pair
// in both operands, so that no entry is moved across lanes.
//
// Args:
//   from: the first entry; from one of its rows (columns if `transposed`) to the next is `stride`.
//   rows, columns: of the operand from there; the tile is padded with zeros.
//   to: the first plane; from one to the next is kPlane.
template <bool kLeft>
JUKEJAX_TILES void LayOut(const float* from, int64_t stride, bool transposed, int64_t rows,
                          int64_t columns, uint16_t* to) {
  constexpr int64_t kRows = kLeft ? kSide : kUnit, kColumns = kLeft ? kUnit : kSide;
  alignas(64) float some[kRows * kColumns];
  const bool all = rows >= kRows && columns >= kColumns;
  if (!all) {
    std::memset(some, 0, sizeof(some));
    for (int64_t i = 0; i < std::min(rows, kRows); ++i) {
      for (int64_t j = 0; j < std::min(columns, kColumns); ++j) {
        some[i * kColumns + j] = transposed ? from[j * stride + i] : from[i * stride + j];
      }
    }
  } else if (transposed) {
    const int64_t second_from = kSide * (kLeft ? stride : 1);
    const int64_t second_to = kSide * (kLeft ? 1 : kColumns);
    TransposeTile<Wide>(from, stride, some, kColumns);
    TransposeTile<Wide>(from + second_from, stride, some + second_to, kColumns);
  }
  if (!all || transposed) from = some, stride = kColumns;

  const __m512i half = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32(0xffff0000);
  for (int64_t i = 0; i < kSide; ++i) {
    const float* const line = from + i * stride;
    __m512 first = _mm512_loadu_ps(line);
    __m512 second = _mm512_loadu_ps(line + kSide * (kLeft ? 1 : stride));
#pragma GCC unroll 3
    for (int plane = 0; plane < kPlanes; ++plane) {
      __m512i a = (__m512i)first, b = (__m512i)second;
      if (plane < kPlanes - 1) {  // rounded to bfloat16; what is left at last is one
        a = _mm512_and_si512(_mm512_add_epi32(a, half), high);
        b = _mm512_and_si512(_mm512_add_epi32(b, half), high);
        first -= (__m512)a;
        second -= (__m512)b;
      }
      const __m512i pairs = _mm512_or_si512(_mm512_srli_epi32(a, 16), _mm512_and_si512(b, high));
      _mm512_store_si512(to + plane * kPlane + i * kUnit, pairs);
    }
  }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide};
};

// NOTE: no local variable: GCC's _tile_loadconfig says that it reads 8 bytes, so GCC would not
// write the other 56 of one.
constexpr TileConfig kTileConfig;

// Configures the tiles for its lifetime.
struct TilesInUse {
  JUKEJAX_TILES TilesInUse() { _tile_loadconfig(&kTileConfig); }
  JUKEJAX_TILES ~TilesInUse() { _tile_release(); }
};

// Keeps instructions on tiles apart. Where another thread shares the core, as on rented machines,
// adjacent ones stall: with eight instructions between them blocks are multiplied 1.5 times as
// fast. On a core without another thread it makes no difference.
JUKEJAX_INLINE void Space() { asm volatile(".rept 8\n nop\n .endr"); }

// out[32, 32] = left right, or is added to. Both are `count` blocks, one after the other. Tiles 0
// to 3 are sums, 4 and 5 of `left`, 6 and 7 of `right`; the planes come in an order in which few
// have to be loaded twice, the largest product last.
JUKEJAX_TILES inline void MultiplyBlocks(const uint16_t* left, const uint16_t* right, int64_t count,
                                         float* out, int64_t stride, bool add) {
  const int64_t bytes = stride * sizeof(float);
  float* const below = out + kSide * stride;
  asm volatile("" ::: "memory");  // NOTE: GCC is not told that loading tiles reads memory.
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
#define JUKEJAX_LOAD(tile, from)       \
  _tile_loadd(tile, from, 2 * kUnit);  \
  Space()
#define JUKEJAX_LEFT(plane)                          \
  JUKEJAX_LOAD(4, left + (plane) * kPlane);          \
  JUKEJAX_LOAD(5, left + (plane) * kPlane + kTileSize)
#define JUKEJAX_RIGHT(plane)                         \
  JUKEJAX_LOAD(6, right + (plane) * kPlane);         \
  JUKEJAX_LOAD(7, right + (plane) * kPlane + kTileSize)
#define JUKEJAX_ADD         \
  _tile_dpbf16ps(0, 4, 6);  \
  Space();                  \
  _tile_dpbf16ps(1, 4, 7);  \
  Space();                  \
  _tile_dpbf16ps(2, 5, 6);  \
  Space();                  \
  _tile_dpbf16ps(3, 5, 7);  \
  Space()
  for (int64_t k = 0; k < count; ++k, left += kBlock, right += kBlock) {
    // What lies beside this result is multiplied next: it is fetched meanwhile.
    for (int64_t r = k * kUnit / count; r < (k + 1) * kUnit / count; ++r) {
      __builtin_prefetch(out + r * stride + kUnit, 1);
      __builtin_prefetch(out + r * stride + kUnit + kSide, 1);
    }
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
#undef JUKEJAX_LOAD
#undef JUKEJAX_LEFT
#undef JUKEJAX_RIGHT
#undef JUKEJAX_ADD
  _tile_stored(0, out, bytes);
  _tile_stored(1, out + kSide, bytes);
  _tile_stored(2, below, bytes);
  _tile_stored(3, below + kSide, bytes);
}

}  // namespace

#endif  // JUKEJAX_HAS_TILES

#endif  // JUKEJAX_OPS_TILES_H_
