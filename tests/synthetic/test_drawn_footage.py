"""Drawn footage: landmarks lie on the drawing, the mouth follows the audio, the head rotates as fast as stated, and our
measures agree with the ground truth."""

import sys

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from emo.cli.prepare import main
from emo.core.errors import InputError
from emo.face.detector import FaceDetector
from emo.face.landmarks import LIP_POINTS, MEDIAPIPE_TO_IBUG, mouth_opening
from emo.face.pose import head_speed
from emo.media.audio import read_audio
from emo.media.shots import find_shots
from emo.preparation.sources import Recipe, list_sources
from emo.speech.lip_sync import load_lip_sync_scorer, score_lip_sync
from emo.synthetic.drawn_footage import EMOTIONS, draw_videos, generate_motion, list_video_specs, make_head
from emo.synthetic.drawn_head import Pose, rotation_matrix
from emo.synthetic.espeak import load_espeak, synthesize_speech
from emo.synthetic.visemes import MouthMotion, list_closures, mouth_from_audio, mouth_from_phonemes
from emo.synthetic.warped_photos import INNER_LIPS, OUTER_LIPS

SENTENCE = "My mother baked big apple pies, and Bob made a map of the whole world while we were away."


@pytest.fixture(scope="module")
def head():
    return make_head(3, 256)


@pytest.fixture(scope="module")
def speech():
    return synthesize_speech(SENTENCE, np.random.default_rng(0))


def mouth_at(head, pose: Pose, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N 3) between the lips, on them and around them, `shift` pixels under where the truth says."""
    picture, mesh = head.draw(pose), head.compute_landmarks(pose)[:, :2] + [0, shift]
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
def test_landmarks_of_the_mouth_lie_on_the_drawn_mouth(head, rotation):
    pose = Pose(rotation=rotation, mouth_opening=0.9)
    inside, lips, skin = mouth_at(head, pose)
    assert np.quantile(inside.mean(1), 0.25) < 0.6 * skin.mean()  # the dark of the mouth
    redness = [np.median(p[:, 0] / (p[:, 1] + 1)) for p in (lips, skin, mouth_at(head, pose, 25.0)[1])]
    assert redness[0] > 1.15 * redness[1] and redness[0] > 1.05 * redness[2]


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.2, 0.05, -0.1), (-0.2, -0.05, 0.05)])
def test_detector_finds_the_face_at_its_place(head, rotation):
    pose = Pose(rotation=rotation, mouth_opening=0.3)
    (face,) = FaceDetector().detect(head.draw(pose))
    truth = head.compute_landmarks(pose)[MEDIAPIPE_TO_IBUG, :2]
    eyes = np.linalg.norm(truth[36] - truth[45])
    assert np.linalg.norm(face.landmarks - truth, axis=-1).mean() < 0.08 * eyes


def compute_meshes(head, mouth: MouthMotion) -> np.ndarray:
    """The meshes (T 468 3) of a head that moves only its mouth."""
    shapes = zip(mouth.opening, mouth.width, strict=True)
    return np.stack([head.compute_landmarks(Pose(mouth_opening=o, mouth_width=w)) for o, w in shapes])


@pytest.mark.parametrize("seed", [0, 1])
def test_head_rotates_as_fast_as_stated(seed):
    head, still = make_head(seed, 64), np.zeros(125)
    motion = generate_motion(MouthMotion(still, still), 25.0, np.random.default_rng(seed))
    turns = np.stack([rotation_matrix(*angles) for angles in motion.head_rotation])
    true = np.linalg.norm(turns[4:] - turns[:-4], axis=(1, 2)) / np.sqrt(2) / (4 / 25)  # small turns: chord is arc
    found = head_speed(
        np.stack([head.compute_landmarks(motion.get_pose(k))[MEDIAPIPE_TO_IBUG, :2] for k in range(125)]), 25.0
    )[2:-2]
    assert abs(found.mean() / true.mean() - 1) < 0.1
    assert np.corrcoef(found, true)[0, 1] > 0.98


def test_b_m_and_p_close_the_lips_and_vowels_open_them(head, speech):
    count = int(speech.seconds * 25)
    mouth = mouth_from_phonemes(speech.phonemes, count, 25.0)
    shut = [int((start + end) / 2 * 25) for start, end in list_closures(speech.phonemes)]
    meshes = compute_meshes(head, mouth)
    gap = mouth_opening(meshes[:, MEDIAPIPE_TO_IBUG, :2])
    assert len(shut) > 8 and gap[shut].max() < 0.01 < 0.1 < gap.max()
    assert mouth.opening[[0, -1]].max() == 0 and np.corrcoef(gap, mouth.opening)[0, 1] > 0.99


def test_mouth_follows_a_recording_and_closes_in_pauses(wave, openings):
    mouth = mouth_from_audio(wave, 16000, 50, 25.0)
    quiet = (openings == 0) & (np.roll(openings, -1) == 0)
    assert np.corrcoef(mouth.opening, openings)[0, 1] > 0.9 and mouth.opening[quiet].max() < 0.05
    assert not mouth_from_audio(np.zeros(32000, np.float32), 16000, 50, 25.0).opening.any()


@pytest.mark.parametrize("shift", [-8, 5])
def test_shift_of_the_audio_is_detected(head, shift):
    import soxr

    speech = synthesize_speech(f"{SENTENCE} {SENTENCE}", np.random.default_rng(1))
    mouth = mouth_from_phonemes(speech.phonemes, int(speech.seconds * 25), 25.0)
    lips = compute_meshes(head, mouth)
    audio = soxr.resample(speech.wave.astype(np.float32) / 32768, speech.sample_rate, 16000)
    late = np.roll(np.pad(audio, (0, 16000)), shift * 640)
    assert (
        abs(
            score_lip_sync(lips[:, MEDIAPIPE_TO_IBUG, :2][:, LIP_POINTS], late, load_lip_sync_scorer()).offset_frames
            - shift
        )
        <= 1
    )


def test_heads_differ_and_a_cut_between_them_is_detected():
    frames = []
    for seed in (4, 5):
        one = make_head(seed, 96)
        frames += [one.draw(Pose(rotation=(0.02 * k, 0, 0), mouth_opening=k % 3 / 3)) for k in range(9)]
    assert find_shots(frames) == [(0, 9), (9, 18)]


def test_lids_eyes_and_brows_move_in_the_drawing(head):
    rest, mesh = head.draw(Pose()).astype(int), head.compute_landmarks(Pose())
    for pose in [Pose(eye_closure=1), Pose(gaze=(0.3, 0))]:
        change = np.abs(head.draw(pose) - rest).sum(-1)
        rows, columns = np.nonzero(change > 60)
        eyes = mesh[[33, 133, 362, 263]]
        assert len(rows) > 20 and np.abs(rows - eyes[:, 1].mean()).max() < 0.5 * np.ptp(eyes[:, 0])
    for gaze in [(0.0, 0.0), (0.3, 0.0), (-0.3, 0.1)]:
        (left, right), picture = (
            head.compute_irises(Pose(gaze=gaze)).astype(int),
            head.draw(Pose(gaze=gaze)).astype(int),
        )
        for x, y in (left, right):  # the pupil is the darkest visible part
            assert picture[y - 1 : y + 2, x - 1 : x + 2].mean() < 0.6 * picture[y - 12 : y + 12, x - 16 : x + 16].mean()
    blink = head.compute_landmarks(Pose(eye_closure=1))
    assert abs(blink[159, 1] - blink[145, 1]) < 0.5 < mesh[145, 1] - mesh[159, 1]
    for name, (expression, _) in EMOTIONS.items():
        moved = np.abs(head.compute_landmarks(Pose(expression=expression)) - mesh).max()
        assert moved > 2 if name != "neutral" else moved == 0


def test_command_draws_missing_videos_and_records_their_source(tmp_path, run_main):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("Hello there.\n\nGood bye, my friend.\n")
    call = main, "emo-prepare", "synth", out, "--text", text, "--size", "64", "--seconds", "0.3"
    assert run_main(*call)[:2] == (0, f"{out}: 2 videos\n")
    sources = list_sources(out, Recipe())
    first, second = sorted((source.info for source in sources), key=lambda info: info.person[-5:])
    assert first.person.endswith("_00000") and second.person.endswith("_00001")
    assert second.source == "Good bye, my friend." and first.license
    truth = load_file(out / f"{second.name}.safetensors")
    assert truth["landmarks"].shape == (7, 468, 3) and truth["head_rotation"].shape == (7, 3)
    assert len(read_audio(out / f"{first.name}.mp4", 16000)) >= 0.28 * 16000
    made = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    assert run_main(*call)[0] == 0
    assert made == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    text.write_text("Something else.\n")
    assert run_main(*call)[0] == 0 and len(list(out.glob("*.mp4"))) == 3  # another sentence makes another video


def test_same_seed_gives_the_same_bytes(sound_path, tmp_path):
    for folder, seed in [("a", 7), ("b", 7), ("c", 8)]:
        draw_videos(tmp_path / folder, list_video_specs([], [sound_path], 1, seed), 64, 0.3)
    a, b, c = ({p.name: p.read_bytes() for p in sorted((tmp_path / folder).iterdir())} for folder in "abc")
    assert a == b and not {*a.values()} & {*c.values()}


def test_impossible_text_is_refused_in_one_line(tmp_path, monkeypatch, run_main):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    code, _, message = run_main(main, "emo-prepare", "synth", tmp_path / "out", "--text", empty)
    assert code == 2 and message == f"emo-prepare: {empty} is empty: give a sentence a line\n"
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    load_espeak.cache_clear()
    with pytest.raises(InputError, match="pip install espeakng-loader"):
        synthesize_speech("Hello.", np.random.default_rng(0))
