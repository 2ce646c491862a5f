// Execution of a task in parts on XLA's thread pool.

#ifndef JUKEJAX_OPS_PARTS_H_
#define JUKEJAX_OPS_PARTS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "xla/ffi/api/ffi.h"

// Calls work(part) once for each of 0 .. parts - 1 and returns when all are done. Each free thread
// takes the next part. The caller takes parts too and only waits for parts that have begun, so that
// it cannot deadlock on a busy pool; as many other threads are started as there are other cores.
inline void RunParts(xla::ffi::ThreadPool& pool, int64_t parts,
                     std::function<void(int64_t)> work) {
  struct Shared {
    std::function<void(int64_t)> work;
    int64_t parts;
    std::atomic<int64_t> next{0}, done{0};

    void Run() {
      for (int64_t part; (part = next.fetch_add(1)) < parts; done.fetch_add(1)) work(part);
    }
  };
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->parts = parts;
  const int64_t threads = std::min<int64_t>(parts, std::max<int64_t>(1, pool.num_threads()));
  for (int64_t thread = 1; thread < threads; ++thread) pool.Schedule([shared] { shared->Run(); });
  shared->Run();
  while (shared->done.load() < parts) std::this_thread::yield();
}

// out[i] += more[0, i] + more[1, i] + ..., with `rows` rows of `size` entries, in this order.
inline void AddSums(xla::ffi::ThreadPool& pool, const float* more, int64_t rows, int64_t size,
                    float* out) {
  constexpr int64_t kAdded = 1 << 14;  // entries that a thread adds at once
  if (rows == 0) return;
  const int64_t parts = std::max<int64_t>(1, size / kAdded);
  RunParts(pool, parts, [&](int64_t part) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* const from = more + row * size;
      for (int64_t i = part * size / parts; i < (part + 1) * size / parts; ++i) out[i] += from[i];
    }
  });
}

#endif  // JUKEJAX_OPS_PARTS_H_
