"""The flag of commands that compute with a model."""

from absl import flags


def define_dtype_flag(values: flags.FlagValues) -> flags.FlagHolder[str | None]:
    """Defines --dtype; see `precision.default_dtype` for its default."""
    return flags.DEFINE_string(
        "dtype",
        None,
        "float32, bfloat16 or float16; default: bfloat16 on GPU and TPU, float16 on GPUs that lack "
        "it, float32 on CPU.",
        flag_values=values,
    )
