// Thread-local scratch buffers: reallocating them would cost more than the kernels.

#ifndef JUKEJAX_OPS_SCRATCH_H_
#define JUKEJAX_OPS_SCRATCH_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

class Scratch {
 public:
  // Returns at least `size` uninitialized floats; invalidates those of an earlier call.
  float* Of(int64_t size) {
    if (size > size_) {
      const int64_t bytes = (size * sizeof(float) + kPage - 1) / kPage * kPage;
      memory_.reset(static_cast<float*>(std::aligned_alloc(kPage, bytes)));
      size_ = size;
    }
    return memory_.get();
  }

 private:
  static constexpr int64_t kPage = 4096;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t size_ = 0;
};

#endif  // JUKEJAX_OPS_SCRATCH_H_
