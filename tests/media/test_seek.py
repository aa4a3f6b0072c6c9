"""Frames by number are those that reading from the start gives, and what can't be decoded is said."""

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.video import read_frames_by_number, read_frames_with_decord, read_video
from emo.media.video_writer import VideoWriter


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """80 frames of moving noise and a bar: no two alike, with keyframes at 0, 25, 50 and 75."""
    path, rng = tmp_path_factory.mktemp("seek") / "noise.mp4", np.random.default_rng(0)
    still = rng.integers(0, 255, (64, 64, 3), np.uint8)
    with VideoWriter(path, 25.0, preset="dataset") as video:
        for number in range(80):
            frame = np.roll(still, number, axis=1)
            frame[:, : number % 64] //= 2
            video.write(frame)
    return path


@pytest.mark.parametrize("numbers", [range(80), [0], [79], [24, 25, 26], [60, 3, 3, 49, 50], [23, 24], [74, 0, 48]])
def test_frames_are_those_of_reading_it_all(path, numbers):
    truth = list(read_video(path))
    picked = read_frames_by_number(path.read_bytes(), "noise", [*numbers], 25.0)
    assert len(picked) == len(numbers)
    for number, frame in zip(numbers, picked, strict=True):
        assert np.array_equal(frame, truth[number]), number


def test_a_lone_frame_is_found_at_every_place(path):
    """The frame before a keyframe too, which is decoded after it."""
    truth, video = list(read_video(path)), path.read_bytes()
    assert all(np.array_equal(read_frames_by_number(video, "noise", [n], 25.0)[0], truth[n]) for n in range(80))


def test_what_is_missing_or_damaged_is_said(path):
    video = bytearray(path.read_bytes())
    with pytest.raises(InputError, match="noise: frame 80 can't be decoded"):
        read_frames_by_number(bytes(video), "noise", [3, 80], 25.0)
    with pytest.raises(InputError, match="noise can't be read as video"):
        read_frames_by_number(b"no video" * 99, "noise", [0], 25.0)


@pytest.mark.parametrize("lost", [8, 40])
def test_what_is_damaged_is_refused_and_never_shown(path, lost):
    """A picture is as it was, or not given: nor are those that the decoder makes without it."""
    truth, video = list(read_video(path)), bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][lost]
    video[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    refused = []
    for number in range(80):
        try:
            assert np.array_equal(read_frames_by_number(bytes(video), "noise", [number], 25.0)[0], truth[number]), (
                number
            )
        except InputError as error:
            assert str(error) == f"noise: frame {number} can't be decoded"
            refused.append(number)
    assert 0 < len(refused) <= 25 and refused == list(range(refused[0], refused[-1] + 1))


@pytest.mark.parametrize("numbers", [range(80), [79], [60, 3, 3, 49, 50], [74, 0, 48]])
def test_decord_reads_the_same_frames(path, numbers):
    """Its colors are a little off, but no other frame is as near."""
    pytest.importorskip("decord")
    truth = np.stack(list(read_video(path))).astype(int)
    picked = read_frames_with_decord(path.read_bytes(), "noise", [*numbers], 25.0)
    assert picked.shape == (len(numbers), 64, 64, 3) and picked.dtype == np.uint8
    for number, frame in zip(numbers, picked, strict=True):
        distances = np.abs(truth - frame).mean((1, 2, 3))
        assert distances.argmin() == number


def test_decord_says_what_is_missing_in_one_line(path):
    pytest.importorskip("decord")
    with pytest.raises(InputError, match="^noise: frame 80 can't be decoded$"):
        read_frames_with_decord(path.read_bytes(), "noise", [3, 80], 25.0)
    with pytest.raises(InputError, match="^noise: frame 3 can't be decoded$"):  # it is not a video of that rate
        read_frames_with_decord(path.read_bytes(), "noise", [0, 3], 30.0)
    with pytest.raises(InputError, match="^noise can't be read as video by decord$"):
        read_frames_with_decord(path.read_bytes()[:9000], "noise", [0], 25.0)
