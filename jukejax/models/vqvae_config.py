"""The configuration of a VQ-VAE."""

import math
from dataclasses import dataclass
from typing import Literal

from jukejax.models.frames import FrameConfig
from jukejax.models.layers import StackConfig
from jukejax.ops.turns import Stream

BOTTLENECKS = ("vq", "kl", "none")


@dataclass(frozen=True)
class VQVAEConfig:
    """The shape of a VQ-VAE; the defaults are those of the released model.

    Attributes:
      downs: strided convolutions that each level adds to those of the levels below it.
      strides: stride of the convolutions that each level adds, even numbers.
      emb_dim: features of a code.
      codebook_size: codes of each level.
      width: channels of the convolutions.
      depth: residual blocks after each strided convolution.
      multipliers: each level's width and depth as multiples of `width` and `depth`.
      m_conv: hidden channels of a residual block as a multiple of its channels.
      dilation_growth_rate: the dilations of consecutive blocks are its powers 0, 1, 2, ...
      dilation_cycle: number of blocks after which the dilations repeat; None: no repetition.
      reverse_decoder_dilation: decoders have the largest dilation first.
      res_scale: divide residual branches by the square root of their number.
      zero_out: residual branches start at zero.
      remat: recompute residual blocks in the backward pass: less memory, more time.
      ema_decay: of the codebooks' moving averages; 1.0 freezes them at their initial values.
      restart_threshold: codes with fewer rows a batch on average restart.
      bottleneck: "vq", codebooks; for comparison "kl", the Gaussian latents of a variational
        autoencoder (`models.gaussian`), or "none", the features of a plain one, which have no
        codes. Older files have true for "vq" and false for "none".
      channels: of the audio.
      frames: encoders and decoders at the rate of the codes (`models.frames`, an extension), which
        replaces `width`, `depth` and `multipliers`; None: OpenAI's.
    """

    downs: tuple[int, ...] = (3, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)
    emb_dim: int = 64
    codebook_size: int = 2048
    width: int = 32
    depth: int = 4
    multipliers: tuple[int, ...] = (2, 1, 1)
    m_conv: float = 1.0
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = None
    reverse_decoder_dilation: bool = True
    res_scale: bool = False
    zero_out: bool = False
    remat: bool = False
    ema_decay: float = 0.99
    restart_threshold: float = 1.0
    bottleneck: Literal["vq", "kl", "none"] = "vq"
    channels: int = 1
    frames: FrameConfig | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bottleneck, bool):
            object.__setattr__(self, "bottleneck", "vq" if self.bottleneck else "none")
        if self.bottleneck not in BOTTLENECKS:
            raise ValueError(f"bottleneck is {self.bottleneck!r}; known: {', '.join(BOTTLENECKS)}")
        if not len(self.downs) == len(self.strides) == len(self.multipliers):
            raise ValueError(
                f"downs {self.downs}, strides {self.strides} and multipliers {self.multipliers} "
                "must have one entry for each level"
            )
        odd = [stride for stride in self.strides if stride < 2 or stride % 2]
        if odd:
            raise ValueError(f"strides {self.strides}: {odd[0]} is not an even number (2, 4, ...)")
        if self.downs[0] < 1:
            raise ValueError(f"downs {self.downs}: level 0 needs at least one strided convolution")
        if not 0.0 <= self.ema_decay <= 1.0:
            raise ValueError(f"ema_decay {self.ema_decay} is outside [0, 1]")
        if self.frames is not None:
            for name in ("widths", "depths"):
                sizes = getattr(self.frames, name)
                if len(sizes) != len(self.downs):
                    raise ValueError(
                        f"frames.{name} {sizes} must have one entry for each of the "
                        f"{len(self.downs)} levels"
                    )
            self.frames.check_turns(self.hops)
            if self.frames.matching_rounds and self.spectral_levels != (self.levels - 1,):
                raise ValueError(
                    f"frames.matching_rounds is {self.frames.matching_rounds}, which needs a top "
                    'level, and no other, whose turns are all "tones" and "strokes"'
                )

    @property
    def levels(self) -> int:
        return len(self.downs)

    @property
    def has_codes(self) -> bool:
        """Returns true if features are quantized."""
        return self.bottleneck == "vq"

    @property
    def spectral_levels(self) -> tuple[int, ...]:
        """Levels whose codes are learned from log magnitudes (`FrameConfig.turns`)."""
        frames = self.frames
        levels = range(self.levels)
        return () if frames is None else tuple(k for k in levels if frames.is_spectral(k))

    @property
    def synthesized_levels(self) -> tuple[int, ...]:
        """Levels without a learned decoder (`FrameConfig.synthesis`)."""
        return self.spectral_levels if self.frames is not None and self.frames.synthesis else ()

    def is_matched(self, level: int) -> bool:
        """Returns true if the sound of a level is filtered to match that of the top level."""
        is_finer = level < self.levels - 1
        return self.frames is not None and self.frames.matching_rounds > 0 and is_finer

    def make_stack(self, depth: int, *, reverse_dilation: bool = False) -> StackConfig:
        """Returns the configuration of the residual stacks of `depth` blocks."""
        return StackConfig(
            depth=depth,
            m_conv=self.m_conv,
            dilation_growth_rate=self.dilation_growth_rate,
            dilation_cycle=self.dilation_cycle,
            reverse_dilation=reverse_dilation,
            res_scale=self.res_scale,
            zero_out=self.zero_out,
            remat=self.remat,
        )

    def streams(self, level: int) -> tuple[Stream, ...]:
        """Returns the streams of a level whose codes take turns, () for others."""
        return () if self.frames is None else self.frames.streams(level)

    def frame_codes(self, level: int) -> int:
        """Returns the codes of a frame of a level, 1 if its codes do not take turns."""
        return 1 if self.frames is None else self.frames.frame_codes(level)

    @property
    def hops(self) -> tuple[int, ...]:
        """Samples of audio for each code, by level."""
        ratios = [stride**downs for stride, downs in zip(self.strides, self.downs, strict=True)]
        return tuple(math.prod(ratios[: level + 1]) for level in range(self.levels))

    @property
    def unit(self) -> int:
        """Samples of the shortest audio that has whole frames of codes at all levels."""
        return math.lcm(*(hop * self.frame_codes(level) for level, hop in enumerate(self.hops)))
