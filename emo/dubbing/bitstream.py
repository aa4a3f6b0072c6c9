"""Make packets of a new encoder and those of the film follow each other in one video stream.

A decoder reads a packet with the headers (parameter sets) that came last or that the container states. Where copied and
re-encoded parts alternate, each must find its own:

- H.264 in mp4 and Matroska (avcC, ISO/IEC 14496-15): our encoder gives its parameter sets a number of their own, and
  the container's header lists both.
- HEVC: parameter sets stand in the stream before each part, as sample entry hev1 allows.
- MPEG-4 part 2: the same with its header.
- VP8, VP9, AV1, MPEG-2, ProRes and MJPEG have all headers in their keyframes.
"""

from collections.abc import Iterator

NAL_SPS, NAL_PPS, NAL_IDR = 7, 8, 5  # of H.264
HEVC_IDR, HEVC_HEADERS = (19, 20), (32, 33, 34)  # VPS, SPS, PPS
START_CODE = b"\0\0\0\1"
MAX_HEADER_ID = 31  # largest number of an SPS


def is_length_prefixed(extradata: bytes) -> bool:
    """Check whether NAL units stand behind their lengths (avcC, hvcC) and not behind start codes.

    Args:
        extradata: The stream's headers.

    Returns:
        Whether they do.
    """
    return len(extradata) > 6 and extradata[0] == 1


def length_bytes(codec: str, extradata: bytes) -> int:
    """Return the size of a NAL unit's length field.

    Args:
        codec: "h264" or "hevc".
        extradata: avcC or hvcC.

    Returns:
        Bytes.
    """
    return (extradata[4 if codec == "h264" else 21] & 3) + 1


def split_units(data: bytes, prefix_bytes: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet.

    Args:
        data: The packet.
        prefix_bytes: Bytes of a unit's length; 0: start codes.

    Yields:
        NAL units without length or start code.
    """
    if prefix_bytes:
        position = 0
        while position + prefix_bytes <= len(data):
            size = int.from_bytes(data[position : position + prefix_bytes], "big")
            yield data[position + prefix_bytes : position + prefix_bytes + size]
            position += prefix_bytes + size
        return
    place = data.find(b"\0\0\1")
    while place >= 0:
        following = data.find(b"\0\0\1", place + 3)
        unit = data[place + 3 : following if following >= 0 else len(data)]
        yield unit.rstrip(b"\0") if following >= 0 else unit
        place = following


def join_units(units: list[bytes], prefix_bytes: int) -> bytes:
    """Make a packet of NAL units.

    Args:
        units: NAL units without length or start code.
        prefix_bytes: Bytes of a unit's length; 0: start codes.

    Returns:
        The packet.
    """
    if prefix_bytes:
        return b"".join(len(unit).to_bytes(prefix_bytes, "big") + unit for unit in units)
    return b"".join(START_CODE + unit for unit in units)


def unit_type(codec: str, unit: bytes) -> int:
    """Return the type of a NAL unit.

    Args:
        codec: "h264" or "hevc".
        unit: The unit without length or start code.

    Returns:
        nal_unit_type of the codec's standard.
    """
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def resets_decoder(codec: str, packet, extradata: bytes) -> bool:
    """Whether a keyframe makes the decoder forget all frames before it.

    Args:
        codec: ffmpeg's name of the codec.
        packet: A keyframe of PyAV.
        extradata: The stream's headers.

    Returns:
        For H.264 and HEVC, whether it is an IDR picture; other codecs' keyframes always do.
    """
    if codec not in ("h264", "hevc"):
        return True
    prefix = length_bytes(codec, extradata) if is_length_prefixed(extradata) else 0
    wanted = (NAL_IDR,) if codec == "h264" else HEVC_IDR
    return any(unit and unit_type(codec, unit) in wanted for unit in split_units(bytes(packet), prefix))


def read_exp_golomb(data: bytes, bit: int) -> tuple[int, int]:
    """Read an unsigned Exp-Golomb number.

    Args:
        data: Bytes.
        bit: Where it starts.

    Returns:
        The number and the bit after it.
    """

    def get(place: int) -> int:
        return data[place // 8] >> (7 - place % 8) & 1

    zeros = 0
    while not get(bit + zeros):
        zeros += 1
    value = 0
    for place in range(bit + zeros, bit + 2 * zeros + 1):
        value = 2 * value + get(place)
    return value - 1, bit + 2 * zeros + 1


def header_units(codec: str, extradata: bytes) -> list[bytes]:
    """List the parameter sets in a stream's headers.

    Args:
        codec: "h264" or "hevc".
        extradata: avcC, hvcC, or headers with start codes.

    Returns:
        NAL units without length or start code.
    """
    if not is_length_prefixed(extradata):
        kinds = (NAL_SPS, NAL_PPS) if codec == "h264" else HEVC_HEADERS
        return [unit for unit in split_units(extradata, 0) if unit and unit_type(codec, unit) in kinds]
    units = []
    if codec == "h264":
        position = 5
        for mask in (31, 255):
            count, position = extradata[position] & mask, position + 1
            for _ in range(count):
                size = int.from_bytes(extradata[position : position + 2], "big")
                units.append(extradata[position + 2 : position + 2 + size])
                position += 2 + size
        return units
    position = 23
    for _ in range(extradata[22]):
        count, position = int.from_bytes(extradata[position + 1 : position + 3], "big"), position + 3
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            units.append(extradata[position + 2 : position + 2 + size])
            position += 2 + size
    return units


def free_header_id(extradata: bytes) -> int:
    """Return a number that no parameter set of a H.264 stream has."""
    taken = set()
    for unit in header_units("h264", extradata):
        if unit_type("h264", unit) == NAL_SPS:
            taken.add(read_exp_golomb(unit, 32)[0])
        elif unit_type("h264", unit) == NAL_PPS:
            number, bit = read_exp_golomb(unit, 8)
            taken |= {number, read_exp_golomb(unit, bit)[0]}
    return next(number for number in range(MAX_HEADER_ID, -1, -1) if number not in taken)


def merge_avc_headers(extradata: bytes, added: bytes) -> bytes:
    """Return avcC with the parameter sets of two encoders.

    Args:
        extradata: avcC of the film.
        added: Headers of our encoder, with start codes or as avcC.

    Returns:
        avcC whose profile and level are the higher of both.
    """
    units = [*header_units("h264", extradata), *header_units("h264", added)]
    sps = [unit for unit in units if unit_type("h264", unit) == NAL_SPS]
    pps = [unit for unit in units if unit_type("h264", unit) == NAL_PPS]
    ours = next(unit for unit in header_units("h264", added) if unit_type("h264", unit) == NAL_SPS)
    head = bytearray(extradata[:5])
    head[1], head[3] = max(head[1], ours[1]), max(head[3], ours[3])
    head[2] &= ours[2]
    merged = bytes(head) + bytes([0xE0 | len(sps)]) + _sized(sps) + bytes([len(pps)]) + _sized(pps)
    position = 6 + len(_sized([u for u in header_units("h264", extradata) if unit_type("h264", u) == NAL_SPS]))
    position += 1 + len(_sized([u for u in header_units("h264", extradata) if unit_type("h264", u) == NAL_PPS]))
    return merged + extradata[position:]  # chroma format and bit depth of the high profiles


def _sized(units: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
