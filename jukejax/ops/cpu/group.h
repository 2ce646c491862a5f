// The attention of one group of queries, for one head, forward and backward.

#ifndef JUKEJAX_OPS_CPU_GROUP_H_
#define JUKEJAX_OPS_CPU_GROUP_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "scratch.h"
#include "vectors.h"

namespace {  // each library has its own

constexpr int64_t kMost = 512;           // queries or keys of a group
constexpr int64_t kLead = kMost + kLine;  // from one row of scores to the next: no power of two

enum Kind : int64_t { kRow = 1, kColumn = 2, kPrevious = 3 };

struct Problem {
  const float* qkv;
  const float* grad;  // of `out`; null in the forward pass
  float* out;         // [B, T, H, D], or of qkv's shape in the backward pass
  float* stats;       // [2, B, H, T]: the largest score of a query, and 1 / the sum of its powers
  int64_t batch, time, heads, dim, block_len, kind;

  int64_t Size() const { return kind == kColumn ? time / block_len : block_len; }
  int64_t Groups() const { return batch * (time / Size()) * heads; }
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(dim)); }
  bool Causal() const { return kind != kPrevious; }
  int64_t Width() const { return 3 * heads * dim; }
};

// The positions of one group: position i of its queries is at first + i * step, of its keys at
// first_key + i * step. `first_key` is -1 if the group sees nothing.
struct Group {
  int64_t item, head, first, first_key, step;

  Group(const Problem& p, int64_t index) {
    head = index % p.heads;
    const int64_t groups = p.time / p.Size(), number = index / p.heads % groups;
    item = index / p.heads / groups;
    step = p.kind == kColumn ? p.block_len : 1;
    first = first_key = p.kind == kColumn ? number : number * p.block_len;
    if (p.kind == kPrevious) first_key = number == 0 ? -1 : first - p.block_len;
  }
};

// Rows of one head: row i begins at data + i * stride.
struct Rows {
  float* data;
  int64_t stride;
};

// Returns rows of qkv or of its gradient: part 0 queries, 1 keys, 2 values.
Rows OfPart(const Problem& p, const Group& g, const float* qkv, int64_t part) {
  const int64_t first = part == 0 ? g.first : g.first_key;
  const int64_t place = (g.item * p.time + first) * p.Width() + (part * p.heads + g.head) * p.dim;
  return {const_cast<float*>(qkv) + place, g.step * p.Width()};
}

// Returns rows of [B, T, H, D].
Rows OfOutput(const Problem& p, const Group& g, const float* out) {
  const int64_t place = ((g.item * p.time + g.first) * p.heads + g.head) * p.dim;
  return {const_cast<float*>(out) + place, g.step * p.heads * p.dim};
}

float* Stats(const Problem& p, const Group& g, int64_t which) {
  return p.stats + ((which * p.batch + g.item) * p.heads + g.head) * p.time + g.first;
}

constexpr int kRows = 8;  // of a block of a product

// The attention of one group, for one kind of vector.
template <typename Vector, typename Int>
struct Form {
  static constexpr int64_t kLanes = sizeof(Vector) / sizeof(float);

  // out[kRows, kVectors vectors] = sum over k of left(r, k) * right[k]. left(r, k) is at
  // left[k * lead + r] if kByDepth, else at left[r * kLead + k].
  template <int kVectors, bool kByDepth>
  static JUKEJAX_INLINE void Block(const float* left, int64_t lead, const float* right,
                                   int64_t right_lead, int64_t depth, float* out,
                                   int64_t out_lead) {
    Vector sums[kRows][kVectors] = {};
    for (int64_t k = 0; k < depth; ++k, right += right_lead, left += kByDepth ? lead : 1) {
      Vector from_right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) from_right[v] = Load<Vector>(right + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Vector from_left = left[kByDepth ? r : r * kLead] - Vector{};
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] += from_left * from_right[v];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) Store(sums[r][v], out + r * out_lead + v * kLanes);
    }
  }

  template <bool kByDepth>
  static JUKEJAX_INLINE void Strip(const float* left, int64_t lead, const float* right,
                                   int64_t right_lead, int64_t depth, int64_t columns, float* out,
                                   int64_t out_lead) {
    int64_t c = 0;
    for (; c + 2 * kLanes <= columns; c += 2 * kLanes) {
      Block<2, kByDepth>(left, lead, right + c, right_lead, depth, out + c, out_lead);
    }
    for (; c < columns; c += kLanes) {
      Block<1, kByDepth>(left, lead, right + c, right_lead, depth, out + c, out_lead);
    }
  }

  // Copies rows, times `scale`, to [size, dim], and transposed to [dim, kLead]; either may be null.
  static JUKEJAX_INLINE void Copy(Rows rows, int64_t size, int64_t dim, float scale, float* lying,
                                  float* transposed) {
    if (lying != nullptr) {
      for (int64_t i = 0; i < size; ++i) {
        for (int64_t d = 0; d < dim; d += kLanes) {
          Store(Load<Vector>(rows.data + i * rows.stride + d) * scale, lying + i * dim + d);
        }
      }
      rows = {lying, dim};
    }
    if (transposed == nullptr) return;
    for (int64_t i = 0; i < size; i += kTile) {
      for (int64_t d = 0; d < dim; d += kTile) {
        TransposeTile<Vector>(rows.data + i * rows.stride + d, rows.stride,
                              transposed + d * kLead + i, kLead);
      }
    }
  }

  // scores[s, q] = sum over d of keys[d, s] * queries[d, q], where query q may see key s.
  static JUKEJAX_INLINE void Scores(const float* keys, const float* queries, int64_t size,
                                    int64_t dim, bool causal, float* scores) {
    for (int64_t s = 0; s < size; s += kRows) {
      const int64_t first = causal ? s / kTile * kTile : 0;
      Strip<true>(keys + s, kLead, queries + first, kLead, dim, size - first,
                  scores + s * kLead + first, kLead);
    }
  }

  // Calls work(s, hidden) for all keys that one of the queries c .. c + kLanes - 1 sees. `hidden`
  // has -1 for those that do not see this one.
  template <typename Work>
  static JUKEJAX_INLINE void EachKey(int64_t c, int64_t size, bool causal, Work work) {
    const int64_t all = causal ? c : size;
    for (int64_t s = 0; s < all; ++s) work(s, Int{});
    if (!causal) return;
    Int lane = {};
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    for (int64_t s = all; s < c + kLanes; ++s) work(s, lane < (int32_t)(s - c) - Int{});
  }

  // out[i, dim] = sum over keys of scores[s, i] * values[s, dim], for all queries.
  static JUKEJAX_INLINE void ByQuery(const float* scores, const float* values, int64_t size,
                                     int64_t dim, bool causal, float* out) {
    for (int64_t q = 0; q < size; q += kRows) {
      Strip<true>(scores + q, kLead, values, dim, causal ? q + kRows : size, dim, out + q * dim,
                  dim);
    }
  }

  // out[s] = sum over queries of scores[s, q] * values[q, dim], for all keys.
  static JUKEJAX_INLINE void ByKey(const float* scores, const float* values, int64_t size,
                                   int64_t dim, bool causal, Rows out) {
    for (int64_t s = 0; s < size; s += kRows) {
      const int64_t first = causal ? s : 0;
      Strip<false>(scores + s * kLead + first, 0, values + first * dim, dim, size - first, dim,
                   out.data + s * out.stride, out.stride);
    }
  }

  static JUKEJAX_INLINE void Zero(Rows rows, int64_t size, int64_t dim) {
    for (int64_t i = 0; i < size; ++i) {
      std::memset(rows.data + i * rows.stride, 0, dim * sizeof(float));
    }
  }

  // The buffers of one group.
  struct Memory {
    float *scores, *grads, *queries, *keys, *values, *given;  // by position
    float *queries_t, *keys_t, *values_t, *given_t;           // by dimension

    explicit Memory(int64_t dim) {
      static thread_local Scratch scratch;
      float* at = scratch.Of(2 * kMost * kLead + 4 * dim * (kMost + kLead));
      for (float** part : {&scores, &grads}) *part = at, at += kMost * kLead;
      for (float** part : {&queries, &keys, &values, &given}) *part = at, at += kMost * dim;
      for (float** part : {&queries_t, &keys_t, &values_t, &given_t}) *part = at, at += kLead * dim;
    }
  };

  static JUKEJAX_INLINE void Forward(const Problem& p, int64_t index) {
    const Group g(p, index);
    const int64_t size = p.Size(), dim = p.dim;
    const Rows out = OfOutput(p, g, p.out);
    float* const largest = Stats(p, g, 0);
    float* const share = Stats(p, g, 1);
    if (g.first_key < 0) {
      for (int64_t i = 0; i < size; ++i) largest[i * g.step] = share[i * g.step] = 0.0f;
      return Zero(out, size, dim);
    }
    const Memory m(dim);
    Copy(OfPart(p, g, p.qkv, 0), size, dim, p.Scale(), m.queries, m.queries_t);
    Copy(OfPart(p, g, p.qkv, 1), size, dim, 1.0f, nullptr, m.keys_t);
    Copy(OfPart(p, g, p.qkv, 2), size, dim, 1.0f, m.values, nullptr);
    Scores(m.keys_t, m.queries_t, size, dim, p.Causal(), m.scores);
    float shares[kMost];
    for (int64_t c = 0; c < size; c += kLanes) {
      Vector top = Vector{} - __builtin_inff(), sum = {};
      EachKey(c, size, p.Causal(), [&](int64_t s, Int hidden) JUKEJAX_INLINED {
        const Vector score = Load<Vector>(m.scores + s * kLead + c);
        top = (hidden == 0) & (score > top) ? score : top;
      });
      EachKey(c, size, p.Causal(), [&](int64_t s, Int hidden) JUKEJAX_INLINED {
        float* const at = m.scores + s * kLead + c;
        const Vector power = Exp<Vector, Int>(Load<Vector>(at) - top);
        const Vector kept = hidden == 0 ? power : Vector{};
        sum += kept;
        Store(kept, at);
      });
      const Vector inverse = 1.0f / sum;
      Store(inverse, shares + c);
      for (int64_t i = 0; i < kLanes; ++i) {
        largest[(c + i) * g.step] = top[i];
        share[(c + i) * g.step] = inverse[i];
      }
    }
    ByQuery(m.scores, m.values, size, dim, p.Causal(), m.given);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t d = 0; d < dim; d += kLanes) {
        Store(Load<Vector>(m.given + i * dim + d) * shares[i], out.data + i * out.stride + d);
      }
    }
  }

  static JUKEJAX_INLINE void Backward(const Problem& p, int64_t index) {
    Group g(p, index);
    const int64_t size = p.Size(), dim = p.dim;
    const Rows to_queries = OfPart(p, g, p.out, 0);
    if (g.first_key < 0) {  // these queries see nothing, and nothing sees the last row's keys
      g.first_key = p.time - p.block_len;
      Zero(to_queries, size, dim);
      Zero(OfPart(p, g, p.out, 1), size, dim);
      return Zero(OfPart(p, g, p.out, 2), size, dim);
    }
    const Memory m(dim);
    Copy(OfPart(p, g, p.qkv, 0), size, dim, p.Scale(), m.queries, m.queries_t);
    Copy(OfPart(p, g, p.qkv, 1), size, dim, 1.0f, m.keys, m.keys_t);
    Copy(OfPart(p, g, p.qkv, 2), size, dim, 1.0f, nullptr, m.values_t);
    Copy(OfOutput(p, g, p.grad), size, dim, 1.0f, m.given, m.given_t);
    Scores(m.keys_t, m.queries_t, size, dim, p.Causal(), m.scores);
    Scores(m.values_t, m.given_t, size, dim, p.Causal(), m.grads);
    const float* const largest = Stats(p, g, 0);
    const float* const share = Stats(p, g, 1);
    for (int64_t c = 0; c < size; c += kLanes) {
      Vector top, inverse, through = {};
      for (int64_t i = 0; i < kLanes; ++i) {
        top[i] = largest[(c + i) * g.step];
        inverse[i] = share[(c + i) * g.step];
      }
      EachKey(c, size, p.Causal(), [&](int64_t s, Int hidden) JUKEJAX_INLINED {
        float* const at = m.scores + s * kLead + c;
        const Vector power = Exp<Vector, Int>(Load<Vector>(at) - top) * inverse;
        const Vector kept = hidden == 0 ? power : Vector{};
        through += kept * Load<Vector>(m.grads + s * kLead + c);
        Store(kept, at);
      });
      EachKey(c, size, p.Causal(), [&](int64_t s, Int) JUKEJAX_INLINED {
        float* const at = m.grads + s * kLead + c;
        Store(Load<Vector>(m.scores + s * kLead + c) * (Load<Vector>(at) - through), at);
      });
    }
    ByKey(m.scores, m.given, size, dim, p.Causal(), OfPart(p, g, p.out, 2));
    ByKey(m.grads, m.queries, size, dim, p.Causal(), OfPart(p, g, p.out, 1));
    ByQuery(m.grads, m.keys, size, dim, p.Causal(), m.given);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t d = 0; d < dim; d += kLanes) {
        Store(Load<Vector>(m.given + i * dim + d) * p.Scale(),
              to_queries.data + i * to_queries.stride + d);
      }
    }
  }
};

}  // namespace

#endif  // JUKEJAX_OPS_CPU_GROUP_H_
