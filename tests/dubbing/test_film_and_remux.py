"""Changed parts of a film are encoded again, everything else survives packet by packet."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.dubbing.bitstream import free_header_id, header_units, merge_avc_headers, read_exp_golomb
from emo.dubbing.encode import PartEncoder
from emo.dubbing.film import FilmReader, open_film
from emo.dubbing.remux import Stretch, check_streams, write_film
from emo.media.yuv import add_change, copy_frame, describe_layout, view_planes

CHANGED = range(14, 17)  # frames of the second group of pictures
BOX, LEVELS = (32, 16, 64, 48), 40.0
HEVC = {"x265-params": "log-level=none:open-gop=0"}
HDR = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
VFR = np.cumsum([40 if index % 3 else 73 for index in range(40)]).tolist()


@dataclass
class Content:
    """What a viewer has of a file."""

    facts: list
    packets: dict[int, list[bytes]]
    frames: list[list[np.ndarray]]


def read(path) -> Content:
    facts, packets, frames = [], {}, []
    with av.open(str(path)) as container:
        facts.append({key: container.metadata.get(key) for key in ("title",)})
        facts.append([(c["metadata"].get("title"), float(c["start"] * c["time_base"])) for c in container.chapters()])
        for stream in container.streams:
            codec = stream.codec_context
            facts.append((stream.type, codec and codec.name, stream.language, int(stream.disposition)))
            if stream.type == "video":
                tags = (codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc)
                facts.append((codec.width, codec.height, codec.pix_fmt, tags))
        for packet in container.demux():
            if packet.size:
                packets.setdefault(packet.stream_index, []).append(bytes(packet))
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            facts.append((round(frame.time, 4), frame.rotation))
            frames.append([plane.astype(np.int32) for plane in view_planes(frame, describe_layout(frame))])
    return Content(facts, packets, frames)


def change(path, output) -> tuple[int, int]:
    """Brighten a window of a few frames; returns the number of parts, and of those that were encoded."""
    film = open_film(path)
    encoder = PartEncoder(film, 10)
    check_streams(film, output, encoder)
    stretches = []
    with FilmReader(film) as reader:
        for part in film.parts():
            touched = part.first_frame < CHANGED.stop and part.end_frame > CHANGED.start
            if not touched and encoder.can_mix:
                stretches.append(Stretch(part))
                continue
            file = output.with_name(f"part-{part.first_packet}")
            encoder.encode(brighten(reader, part), file)
            stretches.append(Stretch(part, file=file))
    write_film(film, output, stretches, encoder, None)
    return len(stretches), sum(stretch.file is not None for stretch in stretches)


def brighten(reader, part):
    for number, frame in reader.decode(part):
        copy = copy_frame(frame)
        if number in CHANGED:
            add_change(copy, BOX, np.full((32, 32, 3), LEVELS, np.float32), describe_layout(copy))
        yield number, copy


KINDS = {
    "h264 with B-frames, two tracks, chapters": {"sounds": (("aac", "5.1"), ("aac", "stereo")), "chapters": True},
    "h264 of variable rate, rotated": {"times": VFR, "rotation": 90},
    "h264 in a transport stream": {"name": "film.ts"},
    "hevc, 10 bits, HDR": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": HEVC, "colors": HDR},
    "vp9": {"name": "film.webm", "codec": "libvpx-vp9", "sounds": (("libopus", "stereo"),)},
    "prores at 23.976": {
        "name": "film.mov",
        "codec": "prores_ks",
        "pixel_format": "yuv422p10le",
        "rate": Fraction(24000, 1001),
        "sounds": (("pcm_s16le", "stereo"),),
    },
    "full range without sound": {"pixel_format": "yuvj420p", "sounds": ()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_changed_survives(kind, make_film, tmp_path):
    path = make_film(**KINDS[kind])
    output = tmp_path / f"dubbed{path.suffix}"
    parts, encoded = change(path, output)
    assert encoded < parts
    before, after = read(path), read(output)
    assert after.facts == before.facts
    for index in set(before.packets) - {0}:
        assert after.packets[index] == before.packets[index]
    for index in {*range(30)} - {*range(10, 20)}:
        assert all((a == b).all() for a, b in zip(before.frames[index], after.frames[index], strict=True))
    scale = 4 if "10" in KINDS[kind].get("pixel_format", "") else 1
    brighter = LEVELS * (1 if kind.startswith("full") else 219 / 255)
    for index in range(10, 20):
        difference = (after.frames[index][0] - before.frames[index][0]) / scale
        inside = difference[BOX[1] : BOX[3], BOX[0] : BOX[2]].copy()
        difference[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 0
        assert np.square(difference).mean() < 6.5  # 40 dB
        if index in CHANGED:
            assert inside.mean() == pytest.approx(brighter, abs=3)


def test_a_codec_that_can_not_be_mixed_is_encoded_as_a_whole(make_film, tmp_path):
    path = make_film(name="film.mkv", codec="ffv1", pixel_format="yuv422p", sounds=(("flac", "mono"),))
    parts, encoded = change(path, tmp_path / "dubbed.mkv")
    assert parts == encoded
    before, after = read(path), read(tmp_path / "dubbed.mkv")
    assert after.facts == before.facts
    assert (after.frames[25][0] == before.frames[25][0]).all()  # FFV1 is lossless


def test_streams_that_the_container_can_not_hold(make_film, tmp_path):
    film = open_film(make_film(name="film.mov", codec="prores_ks", pixel_format="yuv422p10le"))
    with pytest.raises(InputError, match=r"dubbed.webm can't hold stream 0 .*prores.*: use .mov"):
        check_streams(film, tmp_path / "dubbed.webm", PartEncoder(film))
    with pytest.raises(InputError, match="this kind of file is not written; use .mov"):
        check_streams(film, tmp_path / "dubbed.xyz", PartEncoder(film))


def test_parameter_sets_of_two_encoders(make_film):
    film = open_film(make_film())
    number = free_header_id(film.extradata)
    context = PartEncoder(film)._open(global_header=True)
    merged = merge_avc_headers(film.extradata, bytes(context.extradata))
    units = header_units("h264", merged)
    assert len(units) == 4 and set(header_units("h264", film.extradata)) < set(units)
    assert sorted(read_exp_golomb(unit, 32)[0] for unit in units if unit[0] & 31 == 7) == sorted({0, number})


def test_exp_golomb():
    assert read_exp_golomb(bytes([0b10100110]), 0) == (0, 1)
    assert read_exp_golomb(bytes([0b10100110]), 1) == (1, 4)
    assert read_exp_golomb(bytes([0b00101000]), 0) == (4, 5)


def test_files_that_are_no_film(sound_path, tmp_path):
    with pytest.raises(InputError, match="no picture"):
        open_film(sound_path)
    with pytest.raises(InputError, match="no such file"):
        open_film(tmp_path / "missing.mp4")
