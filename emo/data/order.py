"""The order in which clips are seen: each once an epoch, fixed for ever by a seed and the index alone.

Sample 0, 1, 2, ... of a run has its clip here, whichever process reads it: where a run stands is one number, and
stopping, or going on with more processes or fewer, neither repeats nor skips a clip. An epoch's shards are put in a
random row, the clips of each shuffled, the row cut into `lanes` of one length, and the lanes read in turn, one clip of
each. So each clip lies among those of as many shards as there are lanes: a shuffle buffer of that size that holds
nothing in memory. Only these shards are needed at a time, and P processes, workers included, each of which reads every
P-th sample, have shards of their own where P divides `lanes` (but one that a lane shares with the next).

N clips.
"""

import numpy as np


def epoch_order(shards: np.ndarray, rng: np.random.Generator, lanes: int) -> np.ndarray:
    """shards (N,): the number of each clip's shard -> (N,) the clips in an epoch's order."""
    rank, clips = rng.permutation(shards.max() + 1), rng.permutation(len(shards))
    rows = np.array_split(clips[np.argsort(rank[shards[clips]], kind="stable")], lanes)
    table = np.full((len(rows[0]), lanes), -1)  # the first lanes may have one clip more
    for lane, row in enumerate(rows):
        table[: len(row), lane] = row
    return table[table >= 0]


class Order:
    """Sample number -> clip."""

    def __init__(self, shards: np.ndarray, seed: int, lanes: int):
        """shards (N,): the number of each clip's shard."""
        self.shards, self.seed, self.lanes = shards, seed, lanes
        self.epoch, self.clips = -1, shards

    def clip(self, number: int, passed: int = 0) -> int:
        """The clip of sample `number`; when `passed` clips were broken, the one so many further in its lane."""
        epoch, place = divmod(number, len(self.shards))
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.epoch, self.clips = epoch, epoch_order(self.shards, rng, self.lanes)
        return int(self.clips[(place + passed * self.lanes) % len(self.clips)])
