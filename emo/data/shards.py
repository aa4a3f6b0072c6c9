"""Prepared clips as WebDataset shards: tar files of about one size, and a table of what lies in them.

A shard is named after what it holds, its members carry no date and no owner: the same clips give the same bytes, a
shard that is there already is not written again, and one that was begun is not there. Of each clip NAME.json,
NAME.mp4 and NAME.safetensors follow each other, as WebDataset wants them. `index.parquet` has a row for each clip.
"""

import hashlib
import os
import tarfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow
import pyarrow.parquet

from emo.data.clip import FPS, list_clips, load_info
from emo.errors import InputError

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
