"""TensorBoard's event files, written without TensorFlow.

An event file is a TFRecord file of `Event` protobufs (TensorBoard's event.proto and summary.proto).
The fields in use are declared below, in a descriptor pool that is separate from TensorFlow's.
"""

import functools
import io
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from jukejax.data.audio import to_int16
from jukejax.data.records import masked_crc

_VERSION = "brain.Event:2"
_START = 1  # SessionLog.status: readers discard events of this step and later ones
_RGBA = 4
_BINS = 30
# Messages and their fields: name, number, type. A capitalized type is a message, "*" marks a
# repeated field.
_SCHEMA = {
    "SessionLog": (("status", 1, "int32"),),
    "Image": (
        ("height", 1, "int32"),
        ("width", 2, "int32"),
        ("colorspace", 3, "int32"),
        ("encoded_image_string", 4, "bytes"),
    ),
    "Audio": (
        ("sample_rate", 1, "float"),
        ("num_channels", 2, "int64"),
        ("length_frames", 3, "int64"),
        ("encoded_audio_string", 4, "bytes"),
        ("content_type", 5, "string"),
    ),
    "Histogram": (
        ("min", 1, "double"),
        ("max", 2, "double"),
        ("num", 3, "double"),
        ("sum", 4, "double"),
        ("sum_squares", 5, "double"),
        ("bucket_limit", 6, "double*"),
        ("bucket", 7, "double*"),
    ),
    "Value": (
        ("tag", 1, "string"),
        ("simple_value", 2, "float"),
        ("image", 4, "Image"),
        ("histo", 5, "Histogram"),
        ("audio", 6, "Audio"),
    ),
    "Summary": (("value", 1, "Value*"),),
    "Event": (
        ("wall_time", 1, "double"),
        ("step", 2, "int64"),
        ("file_version", 3, "string"),
        ("summary", 5, "Summary"),
        ("session_log", 7, "SessionLog"),
    ),
}


@functools.cache
def _event_class() -> Any:
    """Builds the protobuf class of an Event."""
    # proto2: a value of 0 is written too, as the fields of a oneof are.
    file = descriptor_pb2.FileDescriptorProto(name="events.proto", package="jukejax")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in _SCHEMA.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = declared.field.add(name=name, number=number)
            is_repeated, kind = kind.endswith("*"), kind.rstrip("*")
            optional, repeated = field_type.LABEL_OPTIONAL, field_type.LABEL_REPEATED
            field.label = repeated if is_repeated else optional
            if kind in _SCHEMA:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".jukejax.{kind}"
            else:
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
                field.options.packed = is_repeated
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("jukejax.Event"))


class EventFile:
    """Writes a new event file in a folder; each event is on disk when its method returns."""

    def __init__(self, folder: str | os.PathLike, step: int = 0):
        """Opens the file.

        Args:
          step: last step of the checkpoint that the run continues from. TensorBoard discards the
            events of later steps in older files of the folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = (
            f"events.out.tfevents.{time.time_ns() / 1e9:.6f}.{socket.gethostname()}.{os.getpid()}"
        )
        self.path = folder / name
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._write_event(0, file_version=_VERSION)
        self._write_event(step + 1, session_log={"status": _START})

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars by tag."""
        self._write_summary(step, [{"tag": t, "simple_value": float(v)} for t, v in values.items()])

    def add_audio(self, step: int, tag: str, audio: np.ndarray, sample_rate: int) -> None:
        """Writes audio, float [time], scaled down if its peak exceeds full scale."""
        buffer = io.BytesIO()
        soundfile.write(buffer, to_int16(limit_peak(audio)), sample_rate, "PCM_16", format="WAV")
        content = {
            "sample_rate": sample_rate,
            "num_channels": 1,
            "length_frames": len(audio),
            "encoded_audio_string": buffer.getvalue(),
            "content_type": "audio/wav",
        }
        self._write_summary(step, [{"tag": tag, "audio": content}])

    def add_image(self, step: int, tag: str, png: bytes) -> None:
        """Writes an image, given as the bytes of a PNG file."""
        width, height = struct.unpack(">II", png[16:24])
        content = {"height": height, "width": width, "colorspace": _RGBA}
        content["encoded_image_string"] = png
        self._write_summary(step, [{"tag": tag, "image": content}])

    def add_histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """Writes a histogram of the finite values; writes nothing if there are none."""
        values = np.asarray(values, np.float64).reshape(-1)
        values = values[np.isfinite(values)]
        if not values.size:
            return
        counts, edges = np.histogram(values, _BINS)
        histogram = {
            "min": values.min(),
            "max": values.max(),
            "num": values.size,
            "sum": values.sum(),
            "sum_squares": np.square(values).sum(),
            "bucket_limit": edges[1:].tolist(),
            "bucket": counts.tolist(),
        }
        self._write_summary(step, [{"tag": tag, "histo": histogram}])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write_summary(self, step: int, values: list[dict]) -> None:
        self._write_event(step, summary={"value": values})

    def _write_event(self, step: int, **content: Any) -> None:
        payload = _event_class()(wall_time=time.time(), step=step, **content).SerializeToString()
        length = struct.pack("<Q", len(payload))
        crcs = (struct.pack("<I", masked_crc(part)) for part in (length, payload))
        self._file.write(length + next(crcs) + payload + next(crcs))


def limit_peak(audio: np.ndarray) -> np.ndarray:
    """Returns float32 [time] with zeros for NaN, scaled down if its peak exceeds 1."""
    audio = np.nan_to_num(np.asarray(audio, np.float32), posinf=0.0, neginf=0.0)
    return audio / max(1.0, float(np.abs(audio).max(initial=0.0)))
