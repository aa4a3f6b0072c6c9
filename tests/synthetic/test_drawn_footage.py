"""What is drawn is what is known: the landmarks lie on the drawing, the mouth follows the sound, the head turns as fast
as it is said to, and our measures find it so."""

import sys

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from emo.cli.prepare import main
from emo.core.errors import InputError
from emo.data.clip import LIPS
from emo.face.detector import FaceDetector
from emo.face.landmarks import IBUG, opening
from emo.face.pose import head_speed
from emo.media.audio import read_audio
from emo.preparation.recipe import Recipe
from emo.preparation.shots import find_shots
from emo.preparation.sources import list_sources
from emo.speech.lip_sync import lip_sync, packaged_ear
from emo.synthetic.drawn_footage import draw_head, list_takes, make_synth
from emo.synthetic.drawn_head import Pose, rotation_matrix
from emo.synthetic.espeak import library, speak
from emo.synthetic.motion_curves import EMOTIONS, move
from emo.synthetic.visemes import Mouth, closures, mouth_of_phones, mouth_of_sound
from emo.synthetic.warped_photos import INNER_LIPS, OUTER_LIPS

SENTENCE = "My mother baked big apple pies, and Bob made a map of the whole world while we were away."


@pytest.fixture(scope="module")
def head():
    return draw_head(3, 256)


@pytest.fixture(scope="module")
def speech():
    return speak(SENTENCE, np.random.default_rng(0))


def mouth_at(head, pose: Pose, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N 3) between the lips, on them and around them, `shift` pixels under where the truth says."""
    picture, mesh = head.draw(pose), head.landmarks(pose)[:, :2] + [0, shift]
    areas = []
    for points in (
        mesh[INNER_LIPS],
        mesh[OUTER_LIPS],
        mesh[OUTER_LIPS].mean(0) + 1.5 * (mesh - mesh[OUTER_LIPS].mean(0))[OUTER_LIPS],
    ):
        areas.append(cv2.fillPoly(np.zeros(picture.shape[:2], np.uint8), [np.int32(points)], 1).astype(bool))
    inner, outer, around = areas
    return tuple(picture[area].astype(float) for area in (inner, outer & ~inner, around & ~outer))


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.3, -0.1, 0.08), (-0.3, 0.12, -0.1)])
def test_the_landmarks_of_the_mouth_lie_on_the_drawn_mouth(head, rotation):
    pose = Pose(rotation=rotation, opening=0.9)
    inside, lips, skin = mouth_at(head, pose)
    assert np.quantile(inside.mean(1), 0.25) < 0.6 * skin.mean()  # the dark of the mouth
    redness = [np.median(p[:, 0] / (p[:, 1] + 1)) for p in (lips, skin, mouth_at(head, pose, 25.0)[1])]
    assert redness[0] > 1.15 * redness[1] and redness[0] > 1.05 * redness[2]


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.2, 0.05, -0.1), (-0.2, -0.05, 0.05)])
def test_the_packaged_detector_finds_the_face_where_it_is(head, rotation):
    pose = Pose(rotation=rotation, opening=0.3)
    (face,) = FaceDetector().detect(head.draw(pose))
    truth = head.landmarks(pose)[IBUG, :2]
    eyes = np.linalg.norm(truth[36] - truth[45])
    assert np.linalg.norm(face.landmarks - truth, axis=-1).mean() < 0.08 * eyes


@pytest.mark.parametrize("seed", [0, 1])
def test_the_head_turns_as_fast_as_it_is_said_to(seed):
    head, still = draw_head(seed, 64), np.zeros(125)
    motion = move(Mouth(still, still), 25.0, np.random.default_rng(seed))
    turns = np.stack([rotation_matrix(*angles) for angles in motion.head_rotation])
    known = np.linalg.norm(turns[4:] - turns[:-4], axis=(1, 2)) / np.sqrt(2) / (4 / 25)  # small turns: chord is arc
    found = head_speed(np.stack([head.landmarks(motion.pose(k))[IBUG, :2] for k in range(125)]), 25.0)[2:-2]
    assert abs(found.mean() / known.mean() - 1) < 0.1
    assert np.corrcoef(found, known)[0, 1] > 0.98


def test_b_m_and_p_close_the_lips_and_vowels_open_them(head, speech):
    count = int(speech.seconds * 25)
    mouth = mouth_of_phones(speech.phones, count, 25.0)
    shut = [int((start + end) / 2 * 25) for start, end in closures(speech.phones)]
    meshes = np.stack([head.landmarks(Pose(opening=o, width=w)) for o, w in np.stack([mouth.opening, mouth.width], 1)])
    gap = opening(meshes[:, IBUG, :2])
    assert len(shut) > 8 and gap[shut].max() < 0.01 < 0.1 < gap.max()
    assert mouth.opening[[0, -1]].max() == 0 and np.corrcoef(gap, mouth.opening)[0, 1] > 0.99


def test_the_mouth_follows_a_recording_and_rests_in_its_pauses(wave, openings):
    mouth = mouth_of_sound(wave, 16000, 50, 25.0)
    quiet = (openings == 0) & (np.roll(openings, -1) == 0)
    assert np.corrcoef(mouth.opening, openings)[0, 1] > 0.9 and mouth.opening[quiet].max() < 0.05
    assert not mouth_of_sound(np.zeros(32000, np.float32), 16000, 50, 25.0).opening.any()


@pytest.mark.parametrize("shift", [-8, 5])
def test_a_shift_of_the_sound_is_found(head, shift):
    import soxr

    said = speak(f"{SENTENCE} {SENTENCE}", np.random.default_rng(1))
    mouth = mouth_of_phones(said.phones, int(said.seconds * 25), 25.0)
    lips = np.stack([head.landmarks(Pose(opening=o, width=w)) for o, w in np.stack([mouth.opening, mouth.width], 1)])
    heard = soxr.resample(said.wave.astype(np.float32) / 32768, said.sample_rate, 16000)
    late = np.roll(np.pad(heard, (0, 16000)), shift * 640)
    assert abs(lip_sync(lips[:, IBUG, :2][:, LIPS], late, packaged_ear()).offset_frames - shift) <= 1


def test_heads_differ_and_a_cut_between_them_is_found_at_its_frame():
    frames = []
    for seed in (4, 5):
        one = draw_head(seed, 96)
        frames += [one.draw(Pose(rotation=(0.02 * k, 0, 0), opening=k % 3 / 3)) for k in range(9)]
    assert find_shots(frames) == [(0, 9), (9, 18)]


def test_lids_eyes_and_brows_move_what_is_drawn(head):
    rest, mesh = head.draw(Pose()).astype(int), head.landmarks(Pose())
    for pose in [Pose(closed=1), Pose(gaze=(0.3, 0))]:
        change = np.abs(head.draw(pose) - rest).sum(-1)
        rows, columns = np.nonzero(change > 60)
        eyes = mesh[[33, 133, 362, 263]]
        assert len(rows) > 20 and np.abs(rows - eyes[:, 1].mean()).max() < 0.5 * np.ptp(eyes[:, 0])
    for gaze in [(0.0, 0.0), (0.3, 0.0), (-0.3, 0.1)]:
        (left, right), picture = head.irises(Pose(gaze=gaze)).astype(int), head.draw(Pose(gaze=gaze)).astype(int)
        for x, y in (left, right):  # the pupil is the darkest thing that the lids leave free
            assert picture[y - 1 : y + 2, x - 1 : x + 2].mean() < 0.6 * picture[y - 12 : y + 12, x - 16 : x + 16].mean()
    blink = head.landmarks(Pose(closed=1))
    assert abs(blink[159, 1] - blink[145, 1]) < 0.5 < mesh[145, 1] - mesh[159, 1]
    for name, (expression, _) in EMOTIONS.items():
        moved = np.abs(head.landmarks(Pose(expression=expression)) - mesh).max()
        assert moved > 2 if name != "neutral" else moved == 0


def test_the_command_draws_what_is_missing_and_tells_where_it_comes_from(tmp_path, run_main):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("Hello there.\n\nGood bye, my friend.\n")
    call = main, "emo-prepare", "synth", out, "--text", text, "--size", "64", "--seconds", "0.3"
    assert run_main(*call)[:2] == (0, f"{out}: 2 videos\n")
    sources = list_sources(out, Recipe())
    first, second = sorted((source.info for source in sources), key=lambda info: info.person[-5:])
    assert first.person.endswith("_00000") and second.person.endswith("_00001")
    assert second.source == "Good bye, my friend." and first.licence
    truth = load_file(out / f"{second.name}.safetensors")
    assert truth["landmarks"].shape == (7, 468, 3) and truth["head_rotation"].shape == (7, 3)
    assert len(read_audio(out / f"{first.name}.mp4", 16000)) >= 0.28 * 16000
    made = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    assert run_main(*call)[0] == 0
    assert made == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    text.write_text("Something else.\n")
    assert run_main(*call)[0] == 0 and len(list(out.glob("*.mp4"))) == 3  # another sentence is another video


def test_the_same_seed_gives_the_same_bytes(sound_path, tmp_path):
    for folder, seed in [("a", 7), ("b", 7), ("c", 8)]:
        make_synth(tmp_path / folder, list_takes([], [sound_path], 1, seed), 64, 0.3)
    a, b, c = ({p.name: p.read_bytes() for p in sorted((tmp_path / folder).iterdir())} for folder in "abc")
    assert a == b and not {*a.values()} & {*c.values()}


def test_what_can_not_be_spoken_is_said_in_a_line(tmp_path, monkeypatch, run_main):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    code, _, said = run_main(main, "emo-prepare", "synth", tmp_path / "out", "--text", empty)
    assert code == 2 and said == f"emo-prepare: {empty} is empty: give a sentence a line\n"
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    library.cache_clear()
    with pytest.raises(InputError, match="pip install espeakng-loader"):
        speak("Hello.", np.random.default_rng(0))
