"""A clip out of prepared shards, wherever they lie: on this machine, or what fsspec reads (s3://, hf://datasets/...).

A shard from elsewhere is fetched whole, once for all processes of a machine, and stays in a cache: one request for a
thousand clips, where stores limit requests. fsspec's own file cache writes under the final name, so that another
process would read half a file; webdataset reads from a shard's begin to its end, so that it can't go on in its middle.
"""

import tarfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow
import pyarrow.parquet
from filelock import FileLock

from emo.data.clip import Clip, parse_clip
from emo.data.pictures import read_hold_out
from emo.data.sources import file_system
from emo.errors import InputError

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
