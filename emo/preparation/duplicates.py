"""Which clips show the same moment: once in several files, or encoded, scaled or levelled anew.

A clip's picture and its sound each become 64 bits that survive such changes: signs of differences between neighbours,
as of the difference hash (N. Krawetz, "Kind of Like That", 2013), over the picture's places and over the sound's time.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np

from emo.core.timing import SAMPLE_RATE
from emo.media.audio import loudness

BITS, BANDS = 64, 8
MOST_DIFFERENT_BITS = BANDS - 1  # of either: then one band at least is the same


def bits(values: np.ndarray) -> int:
    """64 bools -> an int."""
    return int.from_bytes(np.packbits(values).tobytes())


def picture_hash(frame: np.ndarray) -> int:
    """(H W 3) uint8 -> 64 bits: where it grows brighter to the right."""
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return bits(small[:, 1:] > small[:, :-1])


def sound_hash(wave: np.ndarray) -> int:
    """(S,) -> 64 bits: when it grows louder, in 65 even parts."""
    level = loudness(wave, SAMPLE_RATE, BITS + 1, (BITS + 1) * SAMPLE_RATE / len(wave))
    return bits(np.diff(level) > 0)


def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return all((a ^ b).bit_count() <= MOST_DIFFERENT_BITS for a, b in zip(one, other, strict=True))


def near_duplicates(hashes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Picture and sound hash of each clip -> the groups of clips (their places) that show the same."""
    buckets, leader = defaultdict(list), list(range(len(hashes)))
    for place, (_, sound) in enumerate(hashes):
        for band, part in enumerate(sound.to_bytes(BITS // 8)):
            buckets[band, part].append(place)

    def first(place: int) -> int:
        while leader[place] != place:
            place = leader[place]
        return place

    for places in buckets.values():
        for one, other in combinations(places, 2):
            if near(hashes[one], hashes[other]):
                low, high = sorted((first(one), first(other)))
                leader[high] = low
    groups = defaultdict(list)
    for place in range(len(hashes)):
        groups[first(place)].append(place)
    return [group for group in groups.values() if len(group) > 1]
