"""Prepared clips as WebDataset shards: tar files of about one size, and an index of what lies in them.

A shard is named after its content and its members carry no date and no owner, so the same clips give the same bytes: a
shard that exists is not written again, and none exists unfinished. NAME.json, NAME.mp4 and NAME.safetensors of a clip
follow each other, as WebDataset expects. `index.parquet` has a row for each clip.

Shards may lie at any address that fsspec reads (s3://, hf://datasets/...). One from elsewhere is fetched as a whole,
once for all processes of a machine, and stays in a cache: one request for a thousand clips, as stores limit requests.
(fsspec's own file cache writes under the final name, so another process would read half a file; webdataset reads a
shard from its start, so it can't continue in the middle.)
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
from emo.core.files import atomic_file
from emo.core.storage import open_file_system
from emo.core.timing import FPS
from emo.data.clip import TRUTH_SUFFIX, Clip, list_clips, load_clip_info, parse_clip, read_hold_out

INDEX_COLUMNS = ["name", "person", "num_frames", "split", "shard"]  # that reading needs
CLIP_SUFFIXES = (".json", ".mp4", ".safetensors")


@dataclass(frozen=True)
class ShardEntry:
    """A clip of an index.

    Attributes:
        name: Name of the clip.
        person: Who is in it.
        num_frames: Its length.
        shard: Path or URL of its shard.
    """

    name: str
    person: str
    num_frames: int
    shard: str


def read_index(folder: str, split: str, hold_out: str | None = None) -> list[ShardEntry]:
    """Read the clips of one split of a folder of shards.

    Args:
        folder: Path or URL.
        split: "train" or "validation".
        hold_out: File of people who belong to validation whatever the index says, see `read_hold_out`.

    Returns:
        The clips, those of a shard one after the other.

    Raises:
        InputError: The folder has no index.
    """
    fs, root = open_file_system(folder)
    try:
        with fs.open(f"{root}/index.parquet", "rb") as file:
            rows = pyarrow.parquet.read_table(file, columns=INDEX_COLUMNS).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{folder}/index.parquet can't be read ({error}): make it with emo-prepare shards") from error
    people, place = read_hold_out(hold_out), fs.unstrip_protocol(root)
    validation = [row["split"] == "validation" or row["person"] in people for row in rows]
    wanted = [row for row, is_aside in zip(rows, validation, strict=True) if is_aside == (split == "validation")]
    wanted.sort(key=lambda row: row["shard"])
    return [ShardEntry(r["name"], r["person"], r["num_frames"], f"{place}/{r['shard']}") for r in wanted]


def fetch_shard(url: str, cache: Path) -> Path:
    """Download a shard unless it is local or in the cache.

    Args:
        url: Path or URL of the shard.
        cache: Folder for downloaded shards.

    Returns:
        Path of the shard on this machine.

    Raises:
        InputError: The shard is missing or can't be downloaded.
    """
    fs, path = open_file_system(url)
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
                raise InputError(f"{url} can't be fetched ({error}); run the same command again to continue") from error
            part.replace(here)
    return here


@lru_cache(maxsize=256)
def locate_members(shard: Path) -> dict[str, tuple[int, int]]:
    """Find the members of a shard, as far as it is complete.

    Returns:
        For each member its first byte and its length.
    """
    found = {}
    with suppress(tarfile.TarError), tarfile.open(shard, "r:") as tar:
        for member in tar:
            found[member.name] = (member.offset_data, member.size)
    return found


def read_member(shard: Path, name: str) -> bytes:
    """Read a member of a shard.

    Args:
        shard: The tar file.
        name: Name of the member.

    Returns:
        Its content.

    Raises:
        InputError: The member is missing or incomplete.
    """
    first, size = locate_members(shard).get(name, (0, -1))
    with shard.open("rb") as file:
        file.seek(first)
        data = file.read(max(0, size))
    if len(data) != size:
        raise InputError(f"{shard}: {name} is missing or incomplete; make the shards again with emo-prepare shards")
    return data


def read_shard_clip(shard: Path, name: str) -> tuple[Clip, bytes]:
    """Read a clip of a shard.

    Args:
        shard: The tar file.
        name: Name of the clip.

    Returns:
        The clip, and the content of its mp4.

    Raises:
        InputError: The clip is broken.
    """
    text, video, tensors = (read_member(shard, f"{name}{suffix}") for suffix in CLIP_SUFFIXES)
    return parse_clip(text, tensors, f"{name} in {shard}"), video


def read_shard_truth(shard: Path, name: str) -> bytes | None:
    """Read the content of a clip's ground truth file.

    Args:
        shard: The tar file.
        name: Name of the clip.

    Returns:
        Content for `emo.data.clip_truth.parse_clip_truth`; None where the clip has no ground truth.
    """
    member = f"{name}{TRUTH_SUFFIX}"
    return read_member(shard, member) if member in locate_members(shard) else None


def list_clip_files(clip: Path) -> list[Path]:
    """List the files of the clip whose JSON is `clip`. Raises InputError when one is missing."""
    files = [clip.with_suffix(suffix) for suffix in CLIP_SUFFIXES]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing: prepare {clip.stem} again with emo-prepare")
    truth = clip.with_suffix(TRUTH_SUFFIX)
    return [*files, truth] if truth.is_file() else files


def hash_files(files: list[Path]) -> str:
    """SHA-256 of the names and contents of files, 64 hexadecimal digits."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()


def group_by_size(clips: list[Path], shard_bytes: int) -> list[list[Path]]:
    """Group clips in their order, as many as stay within `shard_bytes`; a larger one has a group of its own.

    Args:
        clips: JSON files of the clips.
        shard_bytes: Largest size of a group, bytes.

    Returns:
        The groups.
    """
    groups, room = [], 0
    for clip in clips:
        size = sum(file.stat().st_size for file in list_clip_files(clip))
        if not groups or size > room:
            groups.append([])
            room = shard_bytes
        groups[-1].append(clip)
        room -= size
    return groups


def write_tar(path: Path, files: list[Path]) -> None:
    """Write a tar of files, synced to disk before it takes its name.

    Args:
        path: The tar file.
        files: Files to pack, under their own names.

    Raises:
        OutputError: The tar can't be written.
    """
    with atomic_file(path) as partial, partial.open("wb") as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for file in files:
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                with file.open("rb") as opened:
                    tar.addfile(entry, opened)
        raw.flush()
        os.fsync(raw.fileno())


def assign_split(person: str, validation: float) -> str:
    """Assign a person to "train" or "validation" by the name alone, so that it is the same in every run.

    Args:
        person: Identity group of clips.
        validation: Share of the people for validation.

    Returns:
        "train" or "validation".
    """
    place = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) / 2**64
    return "validation" if place < validation else "train"


def list_indexed_shards(index: Path) -> set[Path]:
    """List the shards that an index names; none where there is no index."""
    if not index.exists():
        return set()
    return {index.with_name(name) for name in pyarrow.parquet.read_table(index)["shard"].to_pylist()}


def write_shards(folders: list[str], out: Path, shard_bytes: int, validation: float) -> list[Path]:
    """Write all clips of folders as shards with an index; shards of the previous index that are not needed are removed.

    Args:
        folders: Folders of clips.
        out: Folder of the shards.
        shard_bytes: Size of a shard.
        validation: Share of the people for validation, in shards of their own.

    Returns:
        The shards.

    Raises:
        InputError: A folder has no clips, a clip lacks a file, or two clips have one name.
        OutputError: A shard can't be written.
    """
    infos = {path: load_clip_info(path) for path in list_clips(folders)}
    name, uses = Counter(path.stem for path in infos).most_common(1)[0]
    if uses > 1:
        raise InputError(f"{uses} clips are named {name}: give them different names")
    out.mkdir(parents=True, exist_ok=True)
    for partial in [*out.glob("*.part"), *out.glob(".*.part")]:  # left by a run that was killed
        partial.unlink(missing_ok=True)
    rows, shards, index = [], [], out / "index.parquet"
    for split in ("train", "validation"):
        clips = [path for path, info in infos.items() if assign_split(info.person, validation) == split]
        for group in group_by_size(clips, shard_bytes):
            hashes = {clip: hash_files(list_clip_files(clip)) for clip in group}
            shard = out / f"{split}-{hashlib.sha256(''.join(hashes.values()).encode()).hexdigest()[:16]}.tar"
            if not shard.exists():
                write_tar(shard, [file for clip in group for file in list_clip_files(clip)])
            shards.append(shard)
            for clip, sha256 in hashes.items():
                place = {"split": split, "shard": shard.name, "sha256": sha256}
                rows.append(asdict(infos[clip]) | {"seconds": infos[clip].num_frames / FPS} | place)
    stale = list_indexed_shards(index) - {*shards}
    with atomic_file(index) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    for shard in stale:
        shard.unlink(missing_ok=True)
    return shards
