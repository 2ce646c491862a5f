"""Proof that a sound file is whole, from the bytes of its container.

A decoder conceals damage: it skips bytes that it cannot read, or stops at a wrong length, without
an error. The functions here compare what the container declares with what the file holds.

All raise `ValueError` for a damaged file, with the place.
"""

import zlib
from typing import BinaryIO

MISSING_SECONDS = 0.1  # largest missing part of the declared length of a file that is whole
_UNKNOWN_SIZE = 0x7FFFFFFF - 65536  # sizes of streamed RIFF files are this or more
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MAX_TRAILER = 4096  # bytes after the sound of a whole file that are no chunk and no tag

# First bytes of a file, by the name of FFmpeg's demuxer, for `check_single`.
_MAGIC = {
    "aiff": (0, b"FORM"),
    "asf": (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    "dsf": (0, b"DSD \x1c\x00\x00\x00"),
    "mov,mp4,m4a,3gp,3g2,mj2": (4, b"ftyp"),
    "tta": (0, b"TTA1"),
}


def check_single(file: BinaryIO, format_name: str, start: int) -> None:
    """Checks that no second file is joined to the end of a file.

    Args:
      format_name: of FFmpeg's demuxer.
      start: byte after the last packet of the sound.
    """
    if format_name not in _MAGIC:
        return
    offset, magic = _MAGIC[format_name]
    file.seek(start)
    at, tail = start, b""
    while block := file.read(1 << 20):
        index = (tail + block).find(magic)
        if index >= 0:
            raise ValueError(_describe_second_file(at + index - offset))
        at += len(tail) + len(block)
        tail = (tail + block)[1 - len(magic) :]
        at -= len(tail)


def _describe_second_file(at: int) -> str:
    return f"damaged: a second file is joined to its end, at byte {at}: split them"


# -- Containers with the length of the sound in bytes ----------------------------------------------


def read_wav_options(file: BinaryIO) -> dict[str, str]:
    """Compares the declared length of a WAV file (RIFF, RF64) with the file.

    Returns:
      The options of FFmpeg's demuxer: the declared length is ignored if sound follows it, as in
      files whose writer was stopped.
    """
    size = file.seek(0, 2)
    file.seek(12)
    long_size, bytes_per_second = 0, 0
    while len(head := file.read(8)) == 8:
        name, length = head[:4], int.from_bytes(head[4:], "little")
        start = file.tell()
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"fmt ":
            bytes_per_second = int.from_bytes(file.read(12)[8:], "little")
        elif name == b"data":
            length = long_size if length == 0xFFFFFFFF and long_size else length
            return _compare_wav_data(file, start, length, size, bytes_per_second)
        file.seek(start + length + length % 2)
    return {}


def _compare_wav_data(
    file: BinaryIO, start: int, length: int, size: int, bytes_per_second: int
) -> dict[str, str]:
    present = size - start
    if length > present:
        missing = (length - present) / max(bytes_per_second, 1)
        if length < _UNKNOWN_SIZE and missing > MISSING_SECONDS:
            raise ValueError(describe_missing(present, length, bytes_per_second))
        return {}
    for pad in (length % 2, 0):
        file.seek(start + length + pad)
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            raise ValueError(_describe_second_file(start + length + pad))
        if _holds_chunks(file, start + length + pad, size):
            return {}
    return {"ignore_length": "1"}


def _holds_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Returns true if only RIFF chunks, or zeros, lie between `at` and the end of the file."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if not any(head):
            return _is_zero(file)
        if not all(0x20 <= byte < 0x7F for byte in name) or at + 8 + length > size + 1:
            return False
        at += 8 + length + length % 2
    return True


def check_caf(file: BinaryIO) -> None:
    """Checks that the data chunk of a Core Audio file is whole, and the last but for its tables."""
    size = file.seek(0, 2)
    file.seek(8)
    while len(head := file.read(12)) == 12:
        length = int.from_bytes(head[4:], "big", signed=True)
        start = file.tell()
        if length >= 0 and start + length > size:
            raise ValueError(_describe_missing_bytes(size - start, length))
        if length < 0:
            return
        file.seek(start + length)
    if head:
        raise ValueError(_describe_second_file(size - len(head)))


def check_w64(file: BinaryIO) -> None:
    """Checks that all chunks of a Sony Wave64 file are whole."""
    size = file.seek(0, 2)
    file.seek(16)
    declared = int.from_bytes(file.read(8), "little")
    if declared > size:
        raise ValueError(_describe_missing_bytes(size, declared))
    if size - declared > MAX_TRAILER:
        raise ValueError(_describe_second_file(declared))


def _describe_missing_bytes(present: int, declared: int) -> str:
    return f"truncated or damaged: {present} bytes of the {declared} that it declares"


def _is_zero(file: BinaryIO) -> bool:
    """Returns true if the rest of a file is zero."""
    return not any(any(block) for block in iter(lambda: file.read(1 << 20), b""))


def describe_missing(present: float, declared: float, per_second: float) -> str:
    """Describes a file that ends before its declared length; both in units of `per_second`."""
    per_second = max(per_second, 1e-9)
    return (
        f"truncated or damaged: {present / per_second:.1f} s of the "
        f"{declared / per_second:.1f} s that it declares"
    )


# -- Ogg -----------------------------------------------------------------------------------------


def check_ogg(file: BinaryIO) -> None:
    """Checks the pages of an Ogg file: they follow each other, none is missing, no bit is wrong.

    RFC 3533, section 6. Links of a chain and multiplexed streams have serial numbers of their own.
    Pages may be missing after the headers: a recording of a broadcast begins in mid-stream.
    """
    file.seek(0)
    at = 0
    following: dict[bytes, int] = {}  # number of the next page, by serial number
    while head := file.read(27):
        if head[:4] != b"OggS":
            if (not any(head) and _is_zero(file)) or head[:3] in (b"TAG", b"ID3"):
                return
            raise ValueError(f"damaged: no Ogg page at byte {at}")
        segments = file.read(head[26]) if len(head) == 27 else b""
        body = file.read(sum(segments))
        if len(head) < 27 or len(segments) < head[26] or len(body) < sum(segments):
            raise ValueError(f"truncated: its last Ogg page, at byte {at}, is not whole")
        if _ogg_crc(head[:22] + bytes(4) + head[26:] + segments + body) != head[22:26]:
            raise ValueError(f"damaged: wrong checksum of the Ogg page at byte {at}")
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        if not head[5] & 2 and number != following.get(serial, number):
            raise ValueError(f"damaged: an Ogg page is missing at byte {at}")
        is_header = not any(head[6:14])  # no sample ends on it
        following[serial] = number + 1
        if is_header:
            del following[serial]
        at += 27 + len(segments) + len(body)


def _ogg_crc(page: bytes) -> bytes:
    """Computes the checksum of a page: CRC-32 of polynomial 0x04c11db7, not reflected, from 0.

    That of zlib is reflected, inverted, and of the same polynomial.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reflected.to_bytes(4, "big").translate(_REVERSED)


# -- FLAC ----------------------------------------------------------------------------------------


def read_flac_info(extradata: bytes | None) -> tuple[int, int, bytes] | None:
    """Reads bits per sample, number of samples and MD5 of a FLAC stream's STREAMINFO.

    Returns:
      None without a STREAMINFO; zeros for what the writer left open.
    """
    if not extradata or len(extradata) < 34:
        return None
    packed = int.from_bytes(extradata[10:18], "big")
    bits, samples = (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
    return bits, samples, extradata[18:34]
