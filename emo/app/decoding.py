"""Decode uploads in a child process with limits on time and memory, and leave plain files that are safe to read.

Decoders of pictures and sound are the part of a server that strangers' bytes reach first. The child turns a picture
into a PNG (upright, sRGB, not above a number of pixels) and a sound into a WAV (16 bits, one or two channels); the
server reads only these. A file that hangs or crashes its decoder, or fills the memory, ends the child alone.

    python -m emo.app.decoding '{"kind": "image", "source": ..., "target": ..., ...}'
"""

import asyncio
import json
import math
import os
import sys
import wave as riff
from itertools import chain
from pathlib import Path

from emo.app.settings import ServerSettings
from emo.core.errors import InputError

MAX_RATE_HZ = 48000
MAX_FILE_BYTES = 400_000_000
FORMATS = "wav,w64,aiff,au,caf,mp3,flac,ogg,aac,mov,matroska,webm,avi,mpegts,mpeg,asf,amr,flv,wv,ape,tta,ac3"
INPUT_ERROR = 2  # exit code: the last line of stderr says what is wrong with the file


async def decode_upload(kind: str, source: Path, target: Path, name: str, settings: ServerSettings) -> float:
    """Decode a file in a child process.

    Args:
        kind: "image" or "audio".
        source: The upload.
        target: The PNG or WAV to write.
        name: What the user calls the file, for messages.
        settings: Limits.

    Returns:
        Seconds of a sound; 0 of a picture.

    Raises:
        InputError: The file can't be decoded, or not within the limits.
    """
    order = {
        "kind": kind,
        "source": str(source),
        "target": str(target),
        "max_pixels": settings.max_pixels,
        "max_seconds": settings.max_seconds,
        "cpu_seconds": math.ceil(settings.decode_seconds),
        "memory_bytes": round(settings.decode_memory_mb * 1e6),
    }
    command = [sys.executable, "-m", "emo.app.decoding", json.dumps(order)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=os.environ | threads)
    try:
        out, err = await asyncio.wait_for(child.communicate(), settings.decode_seconds)
    except TimeoutError as error:
        raise InputError(f"{name} could not be decoded within {settings.decode_seconds:g} s") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    lines = err.decode("utf-8", "replace").strip().splitlines()
    if child.returncode == INPUT_ERROR and lines:
        raise InputError(lines[-1].replace(str(source), name))
    if child.returncode != 0:
        raise InputError(f"{name} could not be decoded within the server's limits; save it in a usual format")
    return float(out.decode() or 0)


def set_limits(cpu_seconds: int, memory_bytes: int) -> None:
    """Limit this process's time, memory and files, where the system can."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows: the parent's time limit remains
        return
    limits = {"RLIMIT_CPU": cpu_seconds, "RLIMIT_AS": memory_bytes, "RLIMIT_FSIZE": MAX_FILE_BYTES, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):  # macOS refuses some
            continue


def convert_image(source: Path, target: Path, max_pixels: int) -> None:
    """Read a picture and write it as PNG, shrunk to at most `max_pixels`. Raises InputError."""
    from PIL import Image

    from emo.media.image import read_image

    picture = Image.fromarray(read_image(source))
    scale = math.sqrt(max_pixels / (picture.width * picture.height))
    if scale < 1:
        picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.LANCZOS)
    picture.save(target, "PNG", compress_level=1)


def check_format(source: Path) -> None:
    """Refuse playlists and other files that make ffmpeg's libraries open further files or addresses. Raises
    InputError."""
    import av

    try:
        av.open(str(source.absolute()), options={"format_whitelist": FORMATS}, metadata_errors="replace").close()
    except av.FFmpegError as error:
        raise InputError(
            f"{source} can't be read as sound ({error.strerror}); give wav, mp3, m4a, flac, ogg"
        ) from error


def convert_audio(source: Path, target: Path, max_seconds: float) -> float:
    """Read a sound and write it as a WAV of 16 bits, of one or two channels; returns its seconds. Raises
    InputError."""
    import numpy as np

    from emo.media.decode import decode_audio, mix_to_mono, resample

    check_format(source)
    blocks = decode_audio(source)
    first = next(blocks)
    channels, rate = first.samples.shape[1], min(first.sample_rate, MAX_RATE_HZ)
    limit = round(max_seconds * first.sample_rate)

    def pieces():
        count = 0
        for block in chain([first], blocks):
            count += len(block.samples)
            if count > limit:
                raise InputError(f"{source} is longer than {max_seconds:g} s, the longest sound of this server")
            yield block.samples

    samples = pieces()
    if channels > 2:
        samples, channels = (mono[:, None] for mono in mix_to_mono(samples)), 1
    if rate != first.sample_rate:
        samples = resample(samples, first.sample_rate, rate, channels)
    written = 0
    with riff.open(str(target), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        for piece in samples:
            piece = piece.reshape(len(piece), channels)
            file.writeframes(np.round(piece.clip(-1, 1) * 32767).astype("<i2").tobytes())
            written += len(piece)
    if written < rate / 50:
        raise InputError(f"{source} has no sound; give speech or a song")
    return written / rate


def main() -> None:
    """Decode the file that the argument names."""
    order = json.loads(sys.argv[1])
    set_limits(order["cpu_seconds"], order["memory_bytes"])
    source, target = Path(order["source"]), Path(order["target"])
    try:
        if order["kind"] == "image":
            convert_image(source, target, order["max_pixels"])
        else:
            print(convert_audio(source, target, order["max_seconds"]))
    except InputError as error:
        print(str(error), file=sys.stderr)
        sys.exit(INPUT_ERROR)


if __name__ == "__main__":
    main()
