"""One decode feeds all observers with the frames, shots and damaged parts of the video."""

import math

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.video import read_video
from emo.media.video_pass import VideoObserver, VideoPass, frame_ranges
from emo.media.video_writer import VideoWriter


class Recorder(VideoObserver):
    """Notes every call."""

    def __init__(self):
        self.calls, self.frames, self.damaged_spans = [], {}, []

    def start_video(self, info):
        self.info = info

    def start_shot(self, first_frame):
        self.calls.append(("start", first_frame))

    def add_frame(self, number, frame):
        self.frames[number] = frame

    def end_shot(self, shot):
        self.calls.append(("end", shot.first_frame, shot.end))
        self.damaged_spans = shot.damaged_spans

    def end_video(self, num_frames):
        self.calls.append(("video", num_frames))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of 60 frames at 50 frames per second, with a cut at frame 24 and a keyframe at frame 50."""
    path, rng = tmp_path_factory.mktemp("film") / "film.mp4", np.random.default_rng(0)
    views = [np.kron(rng.integers(0, 255, (4, 6, 3)), np.ones((16, 16, 1))) for _ in range(2)]
    with VideoWriter(path, 50.0, preset="dataset") as video:
        for number in range(60):
            view = np.roll(views[number >= 24], number, axis=1) + rng.normal(0, 4, (64, 96, 3))
            video.write(np.clip(view, 0, 255).astype(np.uint8))
    return path


def run(path, *args, **options) -> Recorder:
    recorder = Recorder()
    VideoPass(path, *args, **options).run(recorder)
    return recorder


@pytest.mark.parametrize("fps", [None, 25, 30])
def test_frames_are_those_of_read_video(film, fps):
    recorder, truth = run(film, fps), list(read_video(film, fps))
    assert list(recorder.frames) == list(range(len(truth)))
    assert all(np.array_equal(frame, truth[number]) for number, frame in recorder.frames.items())
    assert (recorder.info.width, recorder.info.height, recorder.info.fps) == (96, 64, 50)
    assert recorder.info.seconds == pytest.approx(1.2) and not recorder.info.hdr and not recorder.damaged_spans


def test_each_shot_is_started_and_ended(film):
    assert run(film, 25).calls == [("start", 0), ("end", 0, 12), ("start", 12), ("end", 12, 30), ("video", 30)]
    assert run(film, 25, find_shots=False).calls == [("start", 0), ("end", 0, 30), ("video", 30)]
    ends = [call[1:] for call in run(film, 25, max_shot_seconds=0.32).calls if call[0] == "end"]
    assert ends == [(0, 8), (8, 12), (12, 20), (20, 28), (28, 30)]


def test_only_the_wanted_spans_come(film):
    recorder = run(film, 25, spans=[(0.2, 0.6), (0.8, 0.88)])
    assert list(recorder.frames) == [*range(5, 15), 20, 21]
    assert [call[1:] for call in recorder.calls if call[0] == "end"] == [(5, 12), (12, 15), (20, 22)]


def test_spans_that_overlap_have_no_frame_twice():
    assert frame_ranges([(0.0, math.inf)], 25) == [(0, math.inf)]
    assert frame_ranges([(2.5, 10.0), (1.0, 3.0)], 25) == [(25, 75), (75, 250)]
    assert frame_ranges([(2.4, 2.6), (2.0, 1.0), (90.0, 95.0)], 25) == [(60, 65), (2250, 2375)]


def test_observers_are_called_in_their_order_and_an_error_ends_the_pass(film):
    order = []

    class Stopper(VideoObserver):
        def __init__(self, name, stop=False):
            self.name, self.stop = name, stop

        def add_frame(self, number, frame):
            order.append((self.name, number))
            if self.stop and number == 1:
                raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        VideoPass(film, 25).run(Stopper("a"), Stopper("b", stop=True), Stopper("c"))
    assert order == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1)]


def test_damaged_parts_reach_to_the_next_keyframe(film, tmp_path):
    data, path = bytearray(film.read_bytes()), tmp_path / "damaged.mp4"
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keyframes = [float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe]
    packet = packets[30]
    data[packet.pos + 6 : packet.pos + packet.size] = b"\xff" * (packet.size - 6)
    path.write_bytes(data)
    ((start, end),) = run(path, 25).damaged_spans
    time = float(packet.pts * packet.time_base)
    assert time - 0.2 < start <= time + 0.1 and end == min(key for key in keyframes if key > time)


def test_what_is_no_video_is_said_in_one_line(tmp_path, write_wav, wave):
    write_wav(tmp_path / "sound.wav", wave[:1600])
    for name, words in {"sound.wav": "has no picture", "none.mp4": "no such file"}.items():
        with pytest.raises(InputError, match=words):
            run(tmp_path / name)
