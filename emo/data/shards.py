"""Prepared clips as WebDataset shards: write them, index them, read single clips.

A clip out of prepared shards, wherever they lie: on this machine, or what fsspec reads (s3://, hf://datasets/...).

A shard from elsewhere is fetched whole, once for all processes of a machine, and stays in a cache: one request for a
thousand clips, where stores limit requests. fsspec's own file cache writes under the final name, so that another
process would read half a file; webdataset reads from a shard's begin to its end, so that it can't go on in its middle.

Prepared clips as WebDataset shards: tar files of about one size, and a table of what lies in them.

A shard is named after what it holds, its members carry no date and no owner: the same clips give the same bytes, a
shard that is there already is not written again, and one that was begun is not there. Of each clip NAME.json,
NAME.mp4 and NAME.safetensors follow each other, as WebDataset wants them. `index.parquet` has a row for each clip.
"""

import hashlib
import os
import tarfile
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow
import pyarrow.parquet
from filelock import FileLock

from emo.core.errors import InputError
from emo.core.storage import file_system
from emo.core.timing import FPS
from emo.data.clip import Clip, list_clips, load_info, parse_clip, read_hold_out

COLUMNS = ["name", "person", "num_frames", "split", "shard"]


@dataclass(frozen=True)
class Entry:
    """A clip by its line of an index."""

    name: str
    person: str
    num_frames: int
    shard: str  # where the shard is: a path or URL


def read_index(folder: str, split: str, hold_out: str | None = None) -> list[Entry]:
    """The clips of one split ("train" or "validation") of a folder of shards, those of a shard in a row; the people in
    the file `hold_out` are of validation, whatever the index says. Raises InputError for a folder without an index."""
    fs, root = file_system(folder)
    try:
        with fs.open(f"{root}/index.parquet", "rb") as file:
            rows = pyarrow.parquet.read_table(file, columns=COLUMNS).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{folder}/index.parquet can't be read ({error}): make it with emo-prepare shards") from error
    people, place = read_hold_out(hold_out), fs.unstrip_protocol(root)
    aside = [row["split"] == "validation" or row["person"] in people for row in rows]
    wanted = [row for row, is_aside in zip(rows, aside, strict=True) if is_aside == (split == "validation")]
    wanted.sort(key=lambda row: row["shard"])
    return [Entry(r["name"], r["person"], r["num_frames"], f"{place}/{r['shard']}") for r in wanted]


def local_shard(url: str, cache: Path) -> Path:
    """The shard on this machine: where it lies, or fetched into `cache`; its name is its content. Raises InputError."""
    fs, path = file_system(url)
    local = "file" in fs.protocol
    here = Path(path) if local else cache / Path(path).name
    if here.is_file():
        return here
    if local:
        raise InputError(f"{here} is missing: make the shards again with emo-prepare shards")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{here}.lock"):
        if not here.is_file():
            part = here.with_name(f"{here.name}.part")
            try:
                fs.get_file(path, str(part))
            except OSError as error:
                raise InputError(f"{url} can't be fetched ({error}); the same command again goes on") from error
            part.replace(here)
    return here


@lru_cache(maxsize=256)
def places(shard: Path) -> dict[str, tuple[int, int]]:
    """Member -> its first byte and its length, as far as the shard is whole."""
    found = {}
    with suppress(tarfile.TarError), tarfile.open(shard, "r:") as tar:
        for member in tar:
            found[member.name] = (member.offset_data, member.size)
    return found


def read_member(shard: Path, name: str) -> bytes:
    """Raises InputError where the shard does not hold it whole."""
    first, size = places(shard).get(name, (0, -1))
    with shard.open("rb") as file:
        file.seek(first)
        data = file.read(max(0, size))
    if len(data) != size:
        raise InputError(f"{shard} does not hold {name} whole: make the shards again with emo-prepare shards")
    return data


def read_clip(shard: Path, name: str) -> tuple[Clip, bytes]:
    """A clip, and its mp4. Raises InputError for a broken one."""
    text, video, tensors = (read_member(shard, f"{name}{end}") for end in (".json", ".mp4", ".safetensors"))
    return parse_clip(text, tensors, f"{name} in {shard}"), video


SUFFIXES = (".json", ".mp4", ".safetensors")


def members(clip: Path) -> list[Path]:
    """The files of the clip whose JSON is `clip`. Raises InputError when one is missing."""
    files = [clip.with_suffix(suffix) for suffix in SUFFIXES]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing: prepare {clip.stem} again with emo-prepare")
    return files


def digest(files: list[Path]) -> str:
    """SHA-256, as 64 letters, of the names and bytes of files."""
    seen = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            inside = hashlib.file_digest(opened, "sha256").hexdigest()
        seen.update(f"{file.name} {inside}\n".encode())
    return seen.hexdigest()


def grouped(clips: list[Path], shard_bytes: int) -> list[list[Path]]:
    """Clips in order, as many to a group as stay within `shard_bytes`; one that is larger has its own."""
    groups, room = [], 0
    for clip in clips:
        size = sum(file.stat().st_size for file in members(clip))
        if not groups or size > room:
            groups.append([])
            room = shard_bytes
        groups[-1].append(clip)
        room -= size
    return groups


def write_tar(path: Path, files: list[Path]) -> None:
    """Written under another name, synced, then renamed."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for file in files:
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                with file.open("rb") as opened:
                    tar.addfile(entry, opened)
        raw.flush()
        os.fsync(raw.fileno())
    part.replace(path)


def split_of(person: str, validation: float) -> str:
    """The side, train or validation, by the person's name alone: all clips of one person are on it, in every run."""
    place = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) / 2**64
    return "validation" if place < validation else "train"


def named_in(index: Path) -> set[Path]:
    """The shards that an index names; none where there is no index."""
    if not index.exists():
        return set()
    return {index.with_name(name) for name in pyarrow.parquet.read_table(index)["shard"].to_pylist()}


def write_shards(folders: list[str], out: Path, shard_bytes: int, validation: float) -> list[Path]:
    """All clips of folders -> their shards, in order, a share `validation` of the people in shards of their own.

    Shards of the index before that no longer belong are removed once the new index is there.
    Raises InputError for a folder without clips, a clip with a missing file, or two clips of one name.
    """
    infos = {path: load_info(path) for path in list_clips(folders)}
    name, twice = Counter(path.stem for path in infos).most_common(1)[0]
    if twice > 1:
        raise InputError(f"{twice} clips are named {name}: give them different names")
    out.mkdir(parents=True, exist_ok=True)
    rows, shards, index = [], [], out / "index.parquet"
    for split in ("train", "validation"):
        clips = [path for path, info in infos.items() if split_of(info.person, validation) == split]
        for group in grouped(clips, shard_bytes):
            hashes = {clip: digest(members(clip)) for clip in group}
            shard = out / f"{split}-{hashlib.sha256(''.join(hashes.values()).encode()).hexdigest()[:16]}.tar"
            if not shard.exists():
                write_tar(shard, [file for clip in group for file in members(clip)])
            shards.append(shard)
            for clip, sha256 in hashes.items():
                place = {"split": split, "shard": shard.name, "sha256": sha256}
                rows.append(asdict(infos[clip]) | {"seconds": infos[clip].num_frames / FPS} | place)
    stale = named_in(index) - {*shards}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), f"{index}.part")
    Path(f"{index}.part").replace(index)
    for shard in stale:
        shard.unlink(missing_ok=True)
    return shards
