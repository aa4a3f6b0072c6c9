"""Which clips are drawn, and how often."""

from pathlib import Path

import numpy as np

from emo.data.clip import list_clips, load_info
from emo.data.pictures import read_hold_out
from emo.errors import InputError


def person_weights(people: list[str]) -> np.ndarray:
    """(N,) chances of N clips by person, summing to 1: n clips of one person weigh as sqrt(n) of n people."""
    counts = {p: people.count(p) for p in set(people)}
    weights = np.array([counts[p] ** -0.5 for p in people])
    return weights / weights.sum()


def choose_clips(shares: dict[str, float], hold_out: str | None, num_frames: int) -> tuple[list[Path], np.ndarray]:
    """The JSON paths of all clips of at least `num_frames`, and the chance of each: its folder's share (folder ->
    share), spread by person. Raises InputError when no clip is that long.
    """
    chosen, chances = [], np.zeros(0)
    for folder, share in shares.items():
        infos = {path: load_info(path) for path in list_clips([folder], hold_out)}
        paths = [path for path, info in infos.items() if info.num_frames >= num_frames]
        chosen += paths
        chances = np.concatenate([chances, share * person_weights([infos[path].person for path in paths])])
    if not chosen:
        given = ", ".join(shares) or "no folder"
        raise InputError(f"data.num_frames={num_frames}: no clip in {given} (data.clips) is that long")
    return chosen, chances / chances.sum()


def held_out_clips(folders: list[str], hold_out: str | None, num_frames: int) -> list[Path]:
    """The JSON paths of all clips of at least `num_frames` whose person stands in the file `hold_out`."""
    people = read_hold_out(hold_out)
    infos = {path: load_info(path) for path in list_clips(folders)} if people else {}
    return [path for path, info in infos.items() if info.person in people and info.num_frames >= num_frames]
