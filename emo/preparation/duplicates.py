"""Find clips that show the same moment: footage in several files, or encoded, scaled or leveled differently.

The picture and the sound of a clip each become 64 bits that survive such changes: signs of differences between
neighbors, as of the difference hash (N. Krawetz, "Kind of Like That", 2013), over the places of the picture and over
the time of the sound.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np

from emo.core.timing import SAMPLE_RATE
from emo.media.audio import loudness

BITS, BANDS = 64, 8
MAX_DIFFERENT_BITS = BANDS - 1  # of either hash: then at least one of its BANDS bands is the same


def pack_bits(values: np.ndarray) -> int:
    """Pack 64 bools into an int."""
    return int.from_bytes(np.packbits(values).tobytes())


def hash_picture(frame: np.ndarray) -> int:
    """Hash a frame (H W 3) uint8: 64 bits that tell where it grows brighter to the right."""
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return pack_bits(small[:, 1:] > small[:, :-1])


def hash_sound(wave: np.ndarray) -> int:
    """Hash a wave (S,) at SAMPLE_RATE: 64 bits that tell when it grows louder, over 65 parts of equal length."""
    level = loudness(wave, SAMPLE_RATE, BITS + 1, (BITS + 1) * SAMPLE_RATE / len(wave))
    return pack_bits(np.diff(level) > 0)


def is_duplicate(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Check whether two clips are almost the same.

    Args:
        one: Hashes of picture and sound of a clip.
        other: Hashes of another clip.

    Returns:
        True where at most MAX_DIFFERENT_BITS differ in both hashes.
    """
    return all((a ^ b).bit_count() <= MAX_DIFFERENT_BITS for a, b in zip(one, other, strict=True))


def find_duplicates(hashes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Group clips that show the same.

    Args:
        hashes: Picture and sound hash of each clip.

    Returns:
        The groups of two clips or more, as indices.
    """
    buckets, leader = defaultdict(list), list(range(len(hashes)))
    for index, (_, sound) in enumerate(hashes):
        for band, part in enumerate(sound.to_bytes(BITS // 8)):
            buckets[band, part].append(index)

    def find_leader(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for indices in buckets.values():
        for one, other in combinations(indices, 2):
            if is_duplicate(hashes[one], hashes[other]):
                low, high = sorted((find_leader(one), find_leader(other)))
                leader[high] = low
    groups = defaultdict(list)
    for index in range(len(hashes)):
        groups[find_leader(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]
