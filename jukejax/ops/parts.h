// Work in parts on XLA's threads.

#ifndef JUKEJAX_OPS_PARTS_H_
#define JUKEJAX_OPS_PARTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "xla/ffi/api/ffi.h"

// Calls work(part) once for each of 0 .. parts - 1 and returns when all are done. Whoever is free
// takes the next part; the caller takes parts too and only waits for those that run, so no thread
// that is busy can block it.
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
  for (int64_t part = 1; part < parts; ++part) {
    pool.Schedule([shared] { shared->Run(); });
  }
  shared->Run();
  while (shared->done.load() < parts) std::this_thread::yield();
}

#endif  // JUKEJAX_OPS_PARTS_H_
