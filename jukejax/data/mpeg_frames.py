"""Proof that a bare sequence of frames, MPEG audio or ADTS, is whole: its frames and its tags."""

from typing import BinaryIO

from jukejax.data.containers import MAX_TRAILER

_KBPS = {  # of MPEG 1, layers 1 to 3; of MPEG 2, layer 1 and the others
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mpeg_frame_bytes(head: bytes) -> int:
    """Computes the size of a frame of MPEG audio from its header; 0 if it is none (ISO 11172-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    mpeg = 1 if version == 3 else 2
    table = _KBPS[mpeg, layer if mpeg == 1 else min(layer, 2)]
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12000 * table[bitrate - 1] // hertz + padding) * 4
    return (72000 if mpeg == 2 and layer == 3 else 144000) * table[bitrate - 1] // hertz + padding


class FrameChain:
    """Checks that the frames of an MP3, MP2 or ADTS stream follow each other.

    Between frames only tags may lie, as between files that were joined.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._end, self._tags_end = file, 0, 0
        self._missing = 0  # bytes of the last frame that are not there

    def is_tag(self, position: int | None, data: bytes) -> bool:
        """Returns true if a packet that FFmpeg cannot decode is a tag, or lies within one.

        FFmpeg's parser gives a tag between two files together with the frame after it, and both are
        dropped: FFmpeg hears as much.
        """
        if position is None or position < 0:
            return False
        length = _tag_length(data[:32], self._file, len(data))
        if length:
            self._tags_end = max(self._tags_end, position + length)
        return position < self._tags_end

    def add(self, position: int | None, size: int, seconds: float) -> None:
        """Adds a frame.

        Args:
          position: its first byte; None if unknown.
          size: its bytes.
          seconds: its start, for messages.
        """
        if position is None or position < 0:
            self._end += size
            return
        if self._end and position > self._end and not self._holds_tags(self._end, position):
            raise ValueError(
                f"damaged at {seconds:.1f} s: {position - self._end} bytes are no sound"
            )
        self._end = position + size

    def check_size(self, data: bytes) -> None:
        """Checks that a frame of MPEG audio is whole, if it is not the last one."""
        self._missing = max(0, mpeg_frame_bytes(data[:4]) - len(data))

    def finish(self, seconds: float) -> None:
        """Checks the last frame and the bytes after it."""
        if self._missing:
            raise ValueError(f"truncated after {seconds:.1f} s: its last frame is not whole")
        size = self._file.seek(0, 2)
        if size - self._end > MAX_TRAILER and not self._holds_tags(self._end, size):
            raise ValueError(
                f"truncated or damaged after {seconds:.1f} s: the last {size - self._end} bytes "
                "are no sound"
            )

    def _holds_tags(self, start: int, stop: int) -> bool:
        """Returns true if the bytes from `start` to `stop` are ID3, APEv2 or Lyrics3 tags."""
        while start < stop:
            self._file.seek(start)
            length = _tag_length(self._file.read(32), self._file, stop - start)
            if not length:
                return False
            start += length
        return start == stop


def _tag_length(head: bytes, file: BinaryIO, limit: int) -> int:
    """Returns the length of the tag that begins with `head`; 0 if there is none."""
    if head[:3] == b"TAG":
        return 227 if head[3:4] == b"+" else 128
    if head[:3] == b"ID3":
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX":
        is_header = bool(int.from_bytes(head[20:24], "little") & 0x20000000)
        size = int.from_bytes(head[12:16], "little")
        return 32 + (size if is_header else 0)
    if head[:11] == b"LYRICSBEGIN":
        file.seek(-len(head), 1)
        end = file.read(min(limit, 1 << 20)).find(b"LYRICS200")
        return end + 9 if end >= 0 else 0
    return 0


def read_xing_frames(file: BinaryIO) -> int | None:
    """Reads the number of frames that the Xing header of an MP3 declares; None without it."""
    file.seek(0)
    head = file.read(10)
    at = _tag_length(head, file, 0) if head[:3] == b"ID3" else 0
    file.seek(at)
    frame = file.read(4096)
    for name in (b"Xing", b"Info"):
        index = frame.find(name)
        if 0 <= index < 2048 and frame[index + 7 : index + 8]:
            if not frame[index + 7] & 1:
                return None
            return int.from_bytes(frame[index + 8 : index + 12], "big")
    return None
