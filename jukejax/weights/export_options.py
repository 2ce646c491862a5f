"""The options of an export, and the settings of sampling that the exported model recommends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.weights import bundle
from jukejax.weights.recommended_settings import check_recommendation


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
      inputs: workdirs of `train` and bundles, each part once; or one bundle.
      output: folder to write.
      format: a key of `WRITERS`.
      raw: export the latest weights of a training run, not their moving average.
      checkpoint: which checkpoint of a training run, see `checkpoints.select_step`; "best" and a
        step apply to priors: of the VQ-VAE beside them it is the latest. "best" of a VQ-VAE alone
        is the latest too.
      license: license of the weights; None: that of the bundle, or unspecified.
      recipe: how the model was made, recorded in model.json; None: what the bundle says.
      sampling: JSON file of the settings that `sample` takes by default; None: those of a bundle
        among the inputs.
      seconds: seconds of audio for one call of StableHLO's encode or decode.
      batch: items of one call of a StableHLO function.
      dtype: float type of the parameters in a bundle and in safetensors, and of a prior in
        StableHLO.
      adapters: of a run with adapters (`config.lora`), export these alone, in a bundle.
    """

    inputs: Sequence[str]
    output: Path
    format: str = "bundle"
    raw: bool = False
    checkpoint: str = "latest"
    license: str | None = None
    recipe: str | None = None
    sampling: str | None = None
    seconds: float = 6.0
    batch: int = 1
    dtype: str = "float32"
    adapters: bool = False


def read_recommendation(inputs: Sequence[str], options: ExportOptions) -> dict[str, Any]:
    """Returns the entry `sampling` of model.json: that of --sampling, or of a bundle; {}: none.

    Raises:
      ValueError: the file has wrong settings.
    """
    if options.sampling is not None:
        settings = files.read_json(Path(options.sampling))
        check_recommendation(settings, f"--sampling={options.sampling}")
        return {"sampling": settings}
    for folder in filter(bundle.is_bundle, inputs):
        if recommended := bundle.open_bundle(folder).get("sampling"):
            return {"sampling": recommended}
    return {}
