"""Metadata that says a video is generated: the AIGC entry of GB 45438-2025, and IPTC's digital source type as XMP.

Both are written into every mp4, with no extra package, and read from any file. They vanish when a file is copied
without its metadata; the watermark does not.
"""

import json
import re
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from emo.core.errors import InputError

PRODUCER = "emo-portrait"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, EDITED = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
XMP_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes  # XMP specification part 3, table 9
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:emo="https://emo-portrait/ns/1.0/"
 xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
 Iptc4xmpExt:DigitalSourceType="{source_type}" xmp:CreatorTool="{producer}" emo:payload="{payload}">
<TC260:AIGC>{aigc}</TC260:AIGC></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
READ_BYTES = 4_000_000  # of a file's start and end, searched for XMP and AIGC


@dataclass(frozen=True)
class FoundMetadata:
    """What a file's metadata says.

    Attributes:
        source_type: IPTC's digital source type, such as trainedAlgorithmicMedia; None: not stated.
        aigc: The fields of the AIGC entry; None: not there.
        ours: Whether this package wrote one of them.
        payload_hex: The payload that it states; None: not stated.
    """

    source_type: str | None = None
    aigc: dict | None = None
    ours: bool = False
    payload_hex: str | None = None


def make_metadata(payload_hex: str | None, edited: bool = False) -> dict[str, str]:
    """Return the entries of an mp4's metadata.

    Args:
        payload_hex: The watermark's payload.
        edited: The video is a recording that was changed.

    Returns:
        Name -> text.
    """
    aigc = {
        "Label": "1",  # generated, or made by synthesis: certain
        "ContentProducer": PRODUCER,
        "ProduceID": payload_hex or "",
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    source_type = SOURCE_TYPES + (EDITED if edited else GENERATED)
    return {"AIGC": json.dumps(aigc, separators=(",", ":")), "DigitalSourceType": source_type}


def append_xmp(path: Path, payload_hex: str | None, edited: bool = False) -> None:
    """Append an XMP packet to an mp4, as a box of its own at the end, where no other box moves.

    Args:
        path: The mp4, which grows.
        payload_hex: The watermark's payload.
        edited: The video is a recording that was changed.
    """
    stated = make_metadata(payload_hex, edited)
    packet = XMP.format(
        source_type=stated["DigitalSourceType"], producer=PRODUCER, payload=payload_hex or "", aigc=stated["AIGC"]
    ).encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_BOX + packet)


def read_metadata(path: Path) -> FoundMetadata:
    """Search a picture or video for XMP and AIGC entries.

    Args:
        path: The file.

    Returns:
        What was found.

    Raises:
        InputError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(READ_BYTES)
            file.seek(max(file.tell(), path.stat().st_size - READ_BYTES))
            data += file.read()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from error
    aigc = _find_aigc(data)
    types = re.findall(rb"digitalsourcetype/(\w+)", data)
    xmp_payload = re.search(rb'emo:payload="([0-9a-f]{16})"', data)
    ours = xmp_payload is not None or (aigc or {}).get("ContentProducer") == PRODUCER
    stated = xmp_payload[1].decode() if xmp_payload else (aigc or {}).get("ProduceID") if ours else None
    return FoundMetadata(types[-1].decode() if types else None, aigc, ours, stated or None)


def _find_aigc(data: bytes) -> dict | None:
    """The fields of the first readable AIGC entry."""
    for match in re.finditer(rb'\{"Label":"[123]".{0,2000}?\}', data, re.DOTALL):
        try:
            return json.loads(match[0])
        except ValueError:
            continue
    return None
