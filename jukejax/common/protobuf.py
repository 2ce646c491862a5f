"""The wire format of protocol buffers, for messages without generated code."""


def parse_varint(buffer: bytes, position: int) -> tuple[int, int]:
    """Parses a number in groups of seven bits, lowest first; returns (value, end).

    Raises:
      IndexError: the buffer ends within it.
    """
    value = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def parse_fields(message: bytes) -> dict[int, list]:
    """Parses the fields of a message, by number: integers, or the bytes of the content.

    Raises:
      IndexError, KeyError: it is no message.
    """
    fields: dict[int, list] = {}
    position = 0
    while position < len(message):
        tag, position = parse_varint(message, position)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, position = parse_varint(message, position)
        else:
            if wire == 2:
                length, position = parse_varint(message, position)
            else:
                length = {1: 8, 5: 4}[wire]
            value, position = message[position : position + length], position + length
        fields.setdefault(number, []).append(value)
    return fields
