"""Each clip once an epoch, whoever reads; near samples come from few shards, and processes have their own."""

import numpy as np
import pytest

from emo.data.sampling import SampleOrder, order_epoch

SHARDS = np.repeat(np.arange(20), 15)  # 300 clips


def sequence(order: SampleOrder, count: int) -> list[int]:
    return [order.clip(number) for number in range(count)]


@pytest.mark.parametrize("open_shards, clips", [(1, 300), (8, 300), (7, 299), (400, 5)])
def test_each_clip_once_an_epoch_in_another_order_each_time(open_shards, clips):
    order = SampleOrder(SHARDS[:clips], 0, open_shards)
    seen = np.array(sequence(order, 3 * clips)).reshape(3, clips)
    assert all(sorted(epoch) == list(range(clips)) for epoch in seen)
    assert len({tuple(epoch) for epoch in seen}) == 3
    assert sequence(SampleOrder(SHARDS[:clips], 1, open_shards), clips) != list(seen[0])


def test_a_sample_has_its_clip_wherever_one_begins():
    whole = sequence(SampleOrder(SHARDS, 0, 8), 700)
    late = SampleOrder(SHARDS, 0, 8)
    assert [late.clip(number) for number in (650, 3, 299, 300, 650)] == [whole[n] for n in (650, 3, 299, 300, 650)]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_shards_of_their_own(processes):
    """Twenty shards over four rows: five each, so no border shard is shared."""
    clips = order_epoch(SHARDS, np.random.default_rng(0), 4)
    read = [{*SHARDS[clips[rank::processes]]} for rank in range(processes)]
    assert sum(map(len, read)) == 20 and len(set.union(*read)) == 20


def test_few_shards_are_open_and_within_them_clips_are_shuffled():
    clips = order_epoch(SHARDS, np.random.default_rng(0), 4)
    open_at_once = [len({*SHARDS[clips[first : first + 20]]}) for first in range(0, 280)]
    assert max(open_at_once) <= 8 and min(open_at_once) >= 4
    assert (np.diff(clips[::4]) == 1).mean() < 0.2


def test_a_broken_clip_gives_its_place_to_the_next_of_its_lane():
    order = SampleOrder(SHARDS, 0, 4)
    whole = sequence(order, 300)
    assert order.clip(9, skipped=1) == whole[13] and order.clip(299, skipped=2) == whole[7]
    assert order.clip(300 + 9, skipped=1) == order.clip(300 + 13)
