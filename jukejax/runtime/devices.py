"""Peak performance of accelerators by JAX's `device_kind`, for model FLOPs utilization.

Figures are for one JAX device (one chip), without sparsity, at JAX's default precision of products:
float32 means TF32 on Ampere and Hopper, and bfloat16 passes on TPUs. Sources: NVIDIA's
data sheets of the V100, A100, H100 and H200, whose tensor figures with sparsity are halved, and the
white paper of the RTX 4090's architecture (products summed in float32); Google Cloud's pages on TPU
v4, v5e, v5p and v6e (2026).
"""

from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Device:
    """One kind of accelerator.

    Attributes:
      name: its common name.
      peak_flops: floating-point operations a second by compute type, for the types that its matrix
        units support.
      bandwidth: memory bandwidth in bytes a second.
      memory: size in bytes.
    """

    name: str
    peak_flops: dict[str, float]
    bandwidth: float
    memory: float


def _gpu(
    name: str, half: float, single: float, bandwidth: float, memory: float, bf16: bool = True
) -> Device:
    peak = {"float16": half * 1e12, "float32": single * 1e12}
    if bf16:
        peak["bfloat16"] = half * 1e12
    return Device(name, peak, bandwidth * GB, memory * GB)


def _tpu(name: str, peak: float, bandwidth: float, memory: float) -> Device:
    types = ("bfloat16", "float16", "float32")
    return Device(name, dict.fromkeys(types, peak * 1e12), bandwidth * GB, memory * GB)


# By a substring of `device_kind` in lower case; the first match is used.
_KINDS: tuple[tuple[str, Device], ...] = (
    ("v100s", _gpu("V100S", 130, 16.4, 1134, 32, bf16=False)),
    ("v100-pcie-32gb", _gpu("V100 PCIe 32 GB", 112, 14, 900, 32, bf16=False)),
    ("v100-pcie", _gpu("V100 PCIe", 112, 14, 900, 16, bf16=False)),
    ("v100-sxm2-32gb", _gpu("V100 SXM2 32 GB", 125, 15.7, 900, 32, bf16=False)),
    ("v100-sxm3-32gb", _gpu("V100 SXM3 32 GB", 125, 15.7, 900, 32, bf16=False)),
    ("v100", _gpu("V100 SXM2", 125, 15.7, 900, 16, bf16=False)),
    ("a100-sxm4-80gb", _gpu("A100 SXM 80 GB", 312, 156, 2039, 80)),
    ("a100 80gb pcie", _gpu("A100 PCIe 80 GB", 312, 156, 1935, 80)),
    ("a100", _gpu("A100 40 GB", 312, 156, 1555, 40)),
    ("h100 nvl", _gpu("H100 NVL", 835.5, 417.5, 3900, 94)),
    ("h100 pcie", _gpu("H100 PCIe", 756, 378, 2000, 80)),
    ("h100", _gpu("H100 SXM", 989.4, 494.7, 3350, 80)),
    ("h200 nvl", _gpu("H200 NVL", 835.5, 417.5, 4800, 141)),
    ("h200", _gpu("H200 SXM", 989.4, 494.7, 4800, 141)),
    ("rtx 4090", _gpu("RTX 4090", 165.2, 82.6, 1008, 24)),
    ("tpu v6", _tpu("TPU v6e", 918, 1600, 32)),
    ("tpu v5 lite", _tpu("TPU v5e", 197, 800, 16)),
    ("tpu v5e", _tpu("TPU v5e", 197, 800, 16)),
    ("tpu v5", _tpu("TPU v5p", 459, 2765, 95)),
    ("tpu v4", _tpu("TPU v4", 275, 1200, 32)),
)


def find_device(kind: str) -> Device | None:
    """Returns the accelerator with this `device_kind`; None if it is not in the table (a CPU)."""
    kind = kind.lower()
    return next((device for name, device in _KINDS if name in kind), None)


# Model FLOPs utilizations that training runs reach, the lowest and the highest, by a substring of
# `device_kind`. The V100's lowest is that of the published house run (README.md; 162 M parameters:
# 90,000 steps of 3.06e13 FLOPs in 4 days); the others are estimates, for which no run was measured.
_UTILIZATION: tuple[tuple[str, tuple[float, float]], ...] = (
    ("v100", (0.06, 0.20)),
    ("a100", (0.10, 0.35)),
    ("h100", (0.08, 0.30)),
    ("h200", (0.08, 0.30)),
    ("tpu", (0.15, 0.45)),
)
_OTHER_UTILIZATION = (0.10, 0.40)


def find_utilization(kind: str) -> tuple[float, float]:
    """Returns the lowest and the highest MFU to expect of devices with this `device_kind`."""
    kind = kind.lower()
    return next((shares for name, shares in _UTILIZATION if name in kind), _OTHER_UTILIZATION)


def find_peak_flops(kind: str, dtype: str) -> float | None:
    """Returns FLOP/s of one device in a compute type; None if unknown."""
    device = find_device(kind)
    return None if device is None else device.peak_flops.get(dtype)
