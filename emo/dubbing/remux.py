"""Write the dubbed film: its own streams packet by packet, changed parts in place of the old ones, the new sound.

All other streams (audio tracks, subtitles, data, cover, attachments), chapters, metadata, rotation, color tags and time
stamps are those of the film. A stream that the new container can't hold is an error, so nothing is lost silently.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.files import move_file
from emo.dubbing.encode import PartEncoder, decode_times, read_part
from emo.dubbing.film import Film, FilmReader, Part
from emo.media.decode import open_media
from emo.provenance.marks import Marks

MUXERS = {  # suffix -> ffmpeg's name of the container
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".flv": "flv",
}
COVER = av.stream.Disposition.attached_pic

OpenSound = Callable[[av.container.OutputContainer], Iterator[av.Packet]]


@dataclass(frozen=True)
class Stretch:
    """A part of the film at its place in the new one.

    Attributes:
        part: The part.
        shift: What is added to its time stamps, in the film's time base.
        mirror: Where it is played backwards: the sum of a frame's new time stamp, its duration and its old one.
        file: Its encoded packets; None: its own packets are copied.
    """

    part: Part
    shift: int = 0
    mirror: int | None = None
    file: Path | None = None


def find_muxer(path: Path, film: Film) -> str:
    """Return the container to write.

    Args:
        path: The new film.
        film: The film that is dubbed.

    Returns:
        ffmpeg's name of the container.

    Raises:
        InputError: The suffix is not known.
    """
    name = MUXERS.get(path.suffix.lower())
    if name is None:
        raise InputError(f"{path}: this kind of file is not written; use {film.path.suffix or '.mp4'}")
    return name


def check_streams(film: Film, output: Path, encoder: PartEncoder) -> list[str]:
    """Check, before any work is done, that the container takes every stream of the film.

    Args:
        film: The film.
        output: The file to write.
        encoder: Of the changed parts.

    Returns:
        A line for each data stream that can't be written and is left out; timecodes and chapters are written anew.

    Raises:
        InputError: It does not take a picture, sound or subtitle; the message names the first such stream.
    """
    with open_media(film.path) as source:
        omitted = _unwritable_streams(source, output, film)
        target = av.open(str(_temporary(output)), "w", find_muxer(output, film))
        try:
            for stream in source.streams:
                if stream.index not in omitted:
                    _add_stream(target, stream, film, encoder, output)
        finally:
            _discard(target)
        if source.chapters():  # a stream of an mp4 that holds their titles
            omitted = [index for index in omitted if source.streams[index].name != "bin_data"]
        return [f"{film.path.name}: data stream {index} can't be written and is left out" for index in omitted]


def _temporary(output: Path) -> Path:
    return output.with_name(f".emo-{secrets.token_hex(6)}.part").absolute()


def _discard(target) -> None:
    with suppress(Exception):
        target.close()
    with suppress(OSError):
        Path(target.name).unlink(missing_ok=True)


def _unwritable_streams(source, output: Path, film: Film) -> list[int]:
    """Data streams that the container does not take: each is tried in a file of its own."""
    omitted = []
    for stream in source.streams:
        if stream.type == "data":
            target = av.open(str(_temporary(output)), "w", find_muxer(output, film))
            try:
                target.add_stream_from_template(source.streams[film.stream_index], opaque=True)
                target.add_stream_from_template(stream, opaque=True)
                target.start_encoding()
            except (ValueError, av.FFmpegError):
                omitted.append(stream.index)
            finally:
                _discard(target)
    return omitted


def write_film(
    film: Film,
    output: Path,
    stretches: Sequence[Stretch],
    encoder: PartEncoder,
    open_sound: OpenSound | None,
    *,
    end_seconds: float | None = None,
    overwrite: bool = False,
    marks: Marks | None = None,
) -> None:
    """Write the new film; it takes its name when it is complete.

    Args:
        film: The film.
        output: The file to write.
        stretches: The parts in the order in which they are shown.
        encoder: What the encoded parts were made with.
        open_sound: Adds a sound stream to a container and returns its packets, with times after the film's start; None:
            the film's sound is kept.
        end_seconds: Where the streams that are copied end, seconds after the film's start; None: at their ends.
        overwrite: Whether a file of this name is replaced.
        marks: Metadata, and for mp4 and mov the signature; None: none.

    Raises:
        InputError: The container does not take a stream of the film.
        OutputError: The file can't be written.
    """
    partial, muxer = _temporary(output), find_muxer(output, film)
    try:
        with av.open(str(film.path.absolute()), metadata_errors="replace") as source:
            options = _muxer_options(muxer, film, source, marks is not None)
            with av.open(str(partial), "w", muxer, container_options=options) as target:
                target.metadata.update(marks.metadata if marks is not None else {})
                _write(source, target, film, stretches, encoder, open_sound, end_seconds, output)
        if marks is not None and muxer in ("mp4", "mov"):
            marks.sign(partial)
        move_file(partial, output, overwrite)
    except av.FFmpegError as error:
        raise OutputError(
            f"{output} can't be written ({error.strerror}); try another container, such as .mkv"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{output} can't be written ({error.strerror}); free some space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _muxer_options(muxer: str, film: Film, source, is_marked: bool) -> dict[str, str]:
    if muxer not in ("mp4", "mov"):
        return {}
    flags = "+faststart"
    has_cover = any(stream.disposition & COVER for stream in source.streams.video)
    if not has_cover and (is_marked or any(key.startswith("com.") for key in source.metadata)):
        flags += "+use_metadata_tags"  # which has no place for a cover
    options = {"movflags": flags}
    if film.time_base.numerator == 1:
        options["video_track_timescale"] = str(film.time_base.denominator)
    return options


def _write(source, target, film: Film, stretches, encoder, open_sound, end_seconds, output: Path) -> None:
    replaced = source.streams.best("audio") if open_sound is not None else None
    target.metadata.update(source.metadata)
    chapters = source.chapters()
    if chapters:
        target.set_chapters(chapters)
    copies, sound, omitted = {}, iter(()), _unwritable_streams(source, output, film)
    for stream in source.streams:
        if stream.index in omitted:
            continue
        if replaced is not None and stream.index == replaced.index:
            sound = _tag_sound(target, open_sound)
        else:
            copies[stream.index] = _add_stream(target, stream, film, encoder, output)
    if open_sound is not None and replaced is None:
        sound = _tag_sound(target, open_sound)
    target.start_encoding()
    video = _video_packets(film, stretches, encoder, copies[film.stream_index])
    others = _other_packets(source, film, copies, end_seconds)
    shift = Fraction(film.origin_seconds).limit_denominator(10**6)
    _interleave(target, [video, others, _shift(sound, shift)])


def _tag_sound(target, open_sound: OpenSound) -> Iterator[av.Packet]:
    before = len(target.streams)
    packets = open_sound(target)
    target.streams[before].disposition = av.stream.Disposition.default
    return packets


def _add_stream(target, stream, film: Film, encoder: PartEncoder, output: Path):
    """A stream of the new film like one of the old; None where its kind can't be copied by packets."""
    is_film = stream.index == film.stream_index
    try:
        if is_film and not encoder.can_mix:
            added = target.add_stream(encoder.encoder.name, rate=Fraction(film.fps).limit_denominator(1001))
            encoder.configure(added.codec_context, global_header=True)
            if film.quarter_turns:
                added.set_display_rotation(90 * film.quarter_turns)
        else:
            added = target.add_stream_from_template(stream, opaque=True)
            if is_film:
                added.codec_context.extradata = encoder.headers() or None
                if encoder.codec == "hevc" and encoder.prefix:
                    added.codec_context.codec_tag = "hev1"
    except (ValueError, av.FFmpegError) as error:
        name = stream.codec_context.name if stream.codec_context else stream.type
        raise InputError(
            f"{output.name} can't hold stream {stream.index} of {film.path.name} ({stream.type}, {name}): "
            f"use {film.path.suffix}"
        ) from error
    added.metadata.update(stream.metadata)
    added.disposition = stream.disposition
    return added


def _shift(packets: Iterable[av.Packet], seconds: Fraction) -> Iterator[av.Packet]:
    for packet in packets:
        offset = round(seconds / packet.time_base)
        if packet.pts is not None:
            packet.pts += offset
        if packet.dts is not None:
            packet.dts += offset
        yield packet


def _other_packets(source, film: Film, copies: dict, end_seconds: float | None) -> Iterator[av.Packet]:
    """Packets of all streams but the film's picture and the sound that is replaced."""
    wanted = [stream for stream in source.streams if stream.index in copies and stream.index != film.stream_index]
    if not wanted:
        return
    for packet in source.demux(*wanted):
        if packet.size == 0 or (packet.dts is None and packet.pts is None):
            if not (packet.size and packet.stream.type == "video" and packet.stream.disposition & COVER):
                continue
        shown = packet.pts if packet.pts is not None else packet.dts
        if end_seconds is not None and shown is not None:
            if shown * float(packet.stream.time_base) - film.origin_seconds >= end_seconds:
                continue
        packet.stream = copies[packet.stream.index]
        yield packet


def _video_packets(film: Film, stretches: Sequence[Stretch], encoder: PartEncoder, stream) -> Iterator[av.Packet]:
    """Packets of the picture in the order of decoding, copied or encoded."""
    headers, encoded_before = encoder.headers_in_stream(), False
    with FilmReader(film) as reader:
        for stretch in stretches:
            if stretch.file is not None:
                yield from _encoded_packets(film, stretch, stream)
                encoded_before = True
                continue
            for index, packet in enumerate(reader.read(stretch.part)):
                if index == 0 and encoded_before and headers:
                    packet = _with_headers(packet, headers)
                shown = packet.pts if packet.pts is not None else packet.dts
                packet.pts = None if shown is None else shown + stretch.shift
                packet.dts = None if packet.dts is None else packet.dts + stretch.shift
                packet.time_base, packet.stream = film.time_base, stream
                yield packet
            encoded_before = False


def _with_headers(packet: av.Packet, headers: bytes) -> av.Packet:
    new = av.Packet(headers + bytes(packet))
    new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
    new.is_keyframe = True
    return new


def _encoded_packets(film: Film, stretch: Stretch, stream) -> Iterator[av.Packet]:
    packets = list(read_part(stretch.file))
    old = film.frame_pts[[packet.frame for packet in packets]]
    edges = np.append(film.frame_pts, film.end_pts)
    durations = edges[[packet.frame + 1 for packet in packets]] - old
    if stretch.mirror is not None:
        shown = stretch.mirror - old - durations
        decoded = shown - film.delay
    else:
        shown = old + stretch.shift
        decoded = decode_times(film, stretch.part.first_packet, stretch.part.end_packet, old) + stretch.shift
    for packet, pts, dts, duration in zip(packets, shown, decoded, durations, strict=True):
        new = av.Packet(packet.data)
        new.pts, new.dts, new.duration = int(pts), int(dts), int(duration)
        new.is_keyframe, new.time_base, new.stream = packet.is_keyframe, film.time_base, stream
        yield new


def _interleave(target, sources: list[Iterator[av.Packet]]) -> None:
    """Mux packets of several sources by their times, so that the muxer need not hold back many."""

    def time_of(packet: av.Packet | None) -> float:
        if packet is None:
            return float("inf")
        stamp = packet.dts if packet.dts is not None else packet.pts
        return float("-inf") if stamp is None else stamp * float(packet.time_base)

    heads = [next(source, None) for source in sources]
    while any(head is not None for head in heads):
        index = min(range(len(heads)), key=lambda k: time_of(heads[k]))
        target.mux(heads[index])
        heads[index] = next(sources[index], None)
