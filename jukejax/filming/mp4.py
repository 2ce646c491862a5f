"""Writing of an MP4 file: H.264 video and AAC sound, by the encoders that PyAV carries."""

import contextlib
import fractions
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jukejax.common import files
from jukejax.data.audio import Samples
from jukejax.filming.planes import Picture

if TYPE_CHECKING:
    import av

QUALITY = 20  # constant rate factor of libx264; lower numbers are better and larger
# At 1920x1080 with an image: 7.7 ms of processor time a frame and 3.9 Mbit/s. Without CABAC and
# deblocking 6.6 ms and 4.4 Mbit/s; the preset superfast takes 15.4 ms and 4.3 Mbit/s.
#
# The presets from superfast on need mbtree=0 or bf=0: the mbtree of libx264 165 with AVX-512 reads
# memory that it has not written, and the same frames gave up to 9 different files in 12 runs.
_OPTIONS = {"preset": "ultrafast", "x264-params": "cabac=1:no-deblock=0", "mbtree": "0"}
_THREADS = 2  # fixed, as the file depends on their number
_KEY_SECONDS = 2  # between frames to which players can jump
_BITS_PER_CHANNEL = 112_000
_SOUND_BLOCK = 1024  # samples of an AAC frame
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers


class Mp4Writer:
    """Encodes pictures and a sound; see `open_mp4`."""

    def __init__(
        self,
        container: "av.container.OutputContainer",
        size: tuple[int, int],
        fps: int,
        sound: Samples,
        sample_rate: int,
    ):
        self._container, self._sound, self._fps = container, sound, fps
        self._sample_rate, self._sent, self._frames = sample_rate, 0, 0
        self._video: Any = container.add_stream("libx264", rate=fps)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        codec = self._video.codec_context
        codec.thread_count, codec.thread_type = _THREADS, "FRAME"
        codec.gop_size = _KEY_SECONDS * fps
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED
        codec.options = {"crf": str(QUALITY), **_OPTIONS}
        channels = sound.shape[1]
        self._layout = "mono" if channels == 1 else "stereo"
        self._audio: Any = container.add_stream("aac", rate=sample_rate, layout=self._layout)
        self._audio.bit_rate = _BITS_PER_CHANNEL * channels

    def write(self, picture: Picture) -> None:
        """Encodes the next frame, and the sound up to its end."""
        import av

        frame = av.VideoFrame(*picture.size, "yuv420p")
        for plane, samples in zip(frame.planes, picture, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            rows[:, : samples.shape[1]] = samples
        frame.pts, frame.time_base = self._frames, fractions.Fraction(1, self._fps)
        frame.colorspace, frame.color_range = _BT709, _LIMITED
        self._container.mux(self._video.encode(frame))
        self._frames += 1
        self._write_sound(self._frames / self._fps)

    def finish(self) -> None:
        """Encodes the rest of the sound and what the encoders hold back."""
        self._write_sound(len(self._sound) / self._sample_rate + 1)
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))

    def _write_sound(self, seconds: float) -> None:
        import av

        while self._sent < min(seconds * self._sample_rate, len(self._sound)):
            block = self._sound[self._sent : self._sent + _SOUND_BLOCK]
            samples = np.ascontiguousarray(np.asarray(block, np.float32).T)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts = self._sample_rate, self._sent
            frame.time_base = fractions.Fraction(1, self._sample_rate)
            self._container.mux(self._audio.encode(frame))
            self._sent += len(block)


@contextlib.contextmanager
def open_mp4(
    path: Path,
    size: tuple[int, int],
    fps: int,
    sound: Samples,
    sample_rate: int,
    tags: Mapping[str, str],
) -> Iterator[Mp4Writer]:
    """Opens an MP4 file for writing, as a context manager.

    The file appears when it is complete. Its index is at its beginning, so that players start
    before they have all of it.

    Args:
      sound: [time, channels], 1 or 2 channels.
      tags: of the file, such as its title.

    Raises:
      ValueError: the file cannot be written.
    """
    import av

    with files.replacing(path) as temporary:
        try:
            container = av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            )
            with container:
                container.metadata.update(tags)
                writer = Mp4Writer(container, size, fps, sound, sample_rate)
                yield writer
                writer.finish()
        except av.error.FFmpegError as error:
            reason = "the disk is full; make room" if files.is_disk_full(error) else error.strerror
            raise ValueError(f"--output={path} cannot be written: {reason}") from error
