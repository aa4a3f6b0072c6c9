"""Sets of talking heads: real motion keeps its amplitude on others, and a set is the same however it was made."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.data.clip import Clip, ClipInfo, list_clips, load_clip, read_clip_frames, save_clip
from emo.data.clip_truth import load_clip_truth
from emo.face.crop import Region
from emo.face.landmarks import mouth_opening
from emo.models.conditions import EMOTIONS
from emo.preparation import heads
from emo.preparation.head_clips import crop_flow, label_emotions
from emo.preparation.heads import HeadsSettings, prepare_head_clips, read_heads_hold_out
from emo.synthetic.heads.emotions import EMOTION_NAMES, EmotionTrack
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.photo_head import PhotoFrame, PhotoTruth
from emo.synthetic.heads.retargeting import apply_clip_motion, close_lips, fit_clip_motion
from emo.synthetic.voices.utterances import Utterance

NAMES = ("browInnerUp_L", "browInnerUp_R", "eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthPucker")


def make_points() -> np.ndarray:
    """(68 3) a face as the model's files have it: y up, z to the viewer, about 20 units high."""
    turn = np.linspace(np.pi, 2 * np.pi, 17)
    jaw = np.stack([8 * np.cos(turn), 1 + 10 * np.sin(turn), 0 * turn - 6 * np.abs(np.cos(turn))], 1)
    brows = [(x, 5.0 - 0.08 * (abs(x) - 3.5) ** 2, 0.5) for x in (-6, -4.8, -3.5, -2.3, -1.2, 1.2, 2.3, 3.5, 4.8, 6)]
    nose = [(0, y, z) for y, z in ((3.5, 1), (2.3, 1.8), (1.1, 2.5), (0, 3))]
    nose += [(x, -0.8, 2 - 0.3 * abs(x)) for x in (-1.5, -0.8, 0, 0.8, 1.5)]
    eyes = []
    for middle in (-3.15, 3.15):
        eyes += [(middle + 1.4 * np.cos(a), 3.2 + 0.5 * np.sin(a), 0) for a in np.radians([180, 120, 60, 0, -60, -120])]
    outer = [
        (2.5 * np.cos(a), -4 + 1.0 * np.sin(a), 1)
        for a in np.radians([180, 145, 115, 90, 65, 35, 0, -35, -65, -90, -115, -145])
    ]
    inner = [(2.0 * np.cos(a), -4 + 0.06 * np.sin(a), 1) for a in np.radians([180, 120, 90, 60, 0, -60, -90, -120])]
    return np.array([*jaw, *brows, *nose, *eyes, *outer, *inner])


def make_arrays() -> dict[str, np.ndarray]:
    """A face model of 68 vertices with two identity modes."""
    points = make_points()
    expression = np.zeros((len(NAMES), 68, 3))
    expression[0, 22:27, 1] = expression[1, 17:22, 1] = 1.0
    expression[2, 43:45, 1] = expression[3, 37:39, 1] = -0.8
    for row, side in ((2, (47, 46)), (3, (41, 40))):
        expression[row, side, 1] = 0.1
    lower = [55, 56, 57, 58, 59, 65, 66, 67]
    expression[4, lower, 1], expression[4, 5:12, 1] = -3.5, -3.0
    expression[5, 48:68, 0] = -0.4 * points[48:68, 0]
    expression[5, 48:68, 2] = 1.0
    identity = np.stack([points * [0.05, 0, 0], points * [0, 0.05, 0]])
    return {
        "neutral": points,
        "identity": identity,
        "expression": expression,
        "expression_names": np.array(NAMES),
        "tri": np.array([[0, 1, 2]]),
        "part_names": np.array(["skin"]),
        "part_ranges": np.array([[0, 68]]),
        "landmarks": np.arange(68),
    }


@dataclasses.dataclass
class Dots:
    """A head that is drawn as dots: the model's landmarks on a plain picture."""

    model: FaceModel
    identity: np.ndarray
    size: int
    min_scale: float = 0.7

    @property
    def portrait(self) -> np.ndarray:
        return self.paint(self.project_landmarks(np.zeros((1, len(NAMES))))[0])

    def project_landmarks(self, expression: np.ndarray) -> np.ndarray:
        base = self.model.neutral + np.tensordot(self.identity, self.model.identity, 1)
        return (base + np.tensordot(expression, self.model.expression, 1))[..., :2] / 26 + 0.5

    def paint(self, points: np.ndarray) -> np.ndarray:
        image = np.full((self.size, self.size, 3), 90, np.uint8)
        for x, y in points * self.size:
            cv2.circle(image, (int(x), int(y)), 1, (220, 180, 160), -1)
        return image

    def draw(self, motion) -> PhotoFrame:
        points = self.project_landmarks(motion.expression[None].astype(float))[0]
        points = (points - 0.5) * motion.scale + 0.5 + motion.translation
        shift = -np.asarray(motion.translation, np.float16)[:, None, None]
        truth = PhotoTruth(
            np.broadcast_to(shift, (2, 64, 64)),
            np.zeros((64, 64), np.uint8),
            points.astype(np.float32),
            points[[36, 45]].astype(np.float32),
            np.float32(motion.head_radians),
            np.float32(motion.gaze_radians),
            np.float32(motion.blink),
            1 / motion.scale,
            0.0,
        )
        return PhotoFrame(self.paint(points), truth)


def build_dots(image, model, size, seed, random) -> Dots:
    if image.mean() < 20:
        raise InputError("no face")
    return Dots(model, np.random.default_rng(seed).standard_normal(2) * 0.5, size)


def draw_buzz_utterance(choice, seconds, random) -> Utterance:
    """In place of a synthesizer: a buzz with phonemes."""
    from emo.synthetic.espeak import Phoneme

    letters = random.choice(list("apaibomu"), 6)
    phonemes = [Phoneme(str(c), 0.1 + 0.15 * k, 0.25 + 0.15 * k) for k, c in enumerate(letters)]
    time = np.arange(round(1.2 * 16000)) / 16000
    wave = (0.3 * np.sin(2 * np.pi * 150 * time) * (np.abs(time - 0.55) < 0.45)).astype(np.float32)
    return Utterance(
        "buzz", wave, phonemes, "papa", str(random.choice(list(choice.languages))), "buzz", "normal", "free"
    )


@pytest.fixture
def settings(tmp_path, monkeypatch) -> HeadsSettings:
    """Four people, one of whom has no face; short clips at 64 pixels, without a synthesizer."""
    monkeypatch.setattr(heads, "draw_speech_utterance", draw_buzz_utterance)
    monkeypatch.setattr(heads, "DRIVER_SHARES", {"speech": 0.7, "clip": 0.3, "song": 0.0})
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, gray in (("ann", 100), ("bob", 120), ("cy", 140), ("dark", 5)):
        cv2.imwrite(str(photos / f"{name}.png"), np.full((80, 80, 3), gray, np.uint8))
    (photos / "manifest.csv").write_text("file,license\nann.png,CC0\nbob.png,CC0\ncy.png,CC0\n")
    np.savez(tmp_path / "model.npz", **make_arrays())
    return HeadsSettings(
        photos,
        tmp_path / "out",
        tmp_path / "model.npz",
        5 / 3600,
        64,
        clips_per_job=1,
        seconds=(1.0, 1.2),
        block_size=2,
    )


def read_all(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix != ".jsonl"}


def make_real_clip(model: FaceModel, folder: Path, name: str = "real", person: str = "s1") -> np.ndarray:
    """A clip of somebody who opens his mouth; returns how far in each frame."""
    jaw = 0.3 * np.clip(np.sin(np.arange(40) / 3), 0, None)
    weights = np.zeros((40, len(NAMES)))
    weights[:, NAMES.index("jawOpen")] = jaw
    landmarks = Dots(model, np.array([1.0, -1.0]), 64).project_landmarks(weights).astype(np.float32)
    info = ClipInfo(name, person, "buzz", "CC0", 40)
    wave = (0.1 * np.random.default_rng(0).standard_normal(40 * 640)).astype(np.float32)
    clip = Clip(info, wave, landmarks, np.zeros(40, np.float32), np.zeros((40, 0, 2), np.float32))
    folder.mkdir(exist_ok=True)
    save_clip(folder, clip, iter(np.zeros((40, 64, 64, 3), np.uint8)))
    return mouth_opening(landmarks)


def test_a_clips_motion_has_its_shape_and_amplitude_on_another_person(tmp_path):
    model = FaceModel.from_arrays(make_arrays())
    real = make_real_clip(model, tmp_path)
    landmarks = load_clip(tmp_path / "real.json").landmarks
    motion = fit_clip_motion(landmarks, model)
    other = Dots(model, np.array([-1.5, 1.5]), 64)
    played = mouth_opening(other.project_landmarks(apply_clip_motion(motion, model, other.project_landmarks)))
    assert np.corrcoef(played, real)[0, 1] >= 0.98
    assert played.std() / real.std() == pytest.approx(1, abs=0.1)
    assert motion.blink.max() < 0.3


def test_lips_that_penetrate_each_other_are_separated():
    model = FaceModel.from_arrays(make_arrays())
    head, jaw = Dots(model, np.zeros(2), 64), NAMES.index("jawOpen")
    offsets = np.zeros((3, len(NAMES)))
    offsets[:, jaw] = [-0.1, 0.0, 0.3]
    closed = close_lips(offsets, np.ones(3), jaw, head.project_landmarks)
    assert closed[:, jaw] == pytest.approx([0, 0, 0], abs=0.02)
    assert close_lips(offsets, np.zeros(3), jaw, head.project_landmarks)[:, jaw] == pytest.approx([-0.1, 0.0, 0.3])


def test_blinks_of_a_clip_are_found():
    model = FaceModel.from_arrays(make_arrays())
    weights = np.zeros((30, len(NAMES)))
    weights[10:13, [2, 3]] = 1.0
    motion = fit_clip_motion(Dots(model, np.zeros(2), 64).project_landmarks(weights), model)
    assert motion.blink[10:13].min() > 0.9 and motion.blink[:9].max() == 0
    assert (motion.expression[:, [2, 3]] == 0).all()


def test_bilabials_close_this_persons_lips_within_a_frame(settings):
    prepare_head_clips(settings, build=build_dots)
    count = 0
    for path in list_clips([str(settings.out)]):
        known, gaps = load_clip_truth(path), mouth_opening(load_clip(path).landmarks)
        for ipa, (start, end) in zip(known["phonemes"], known["phoneme_seconds"], strict=True):
            if ipa in ("p", "b", "m") and "buzz" in load_clip(path).info.source:
                frame = int((start + end) / 2 * 25)
                assert gaps[frame - 1 : frame + 2].min() < gaps.min() + 0.004
                count += 1
    assert count >= 5


def test_clips_have_frames_sound_labels_and_ground_truth(settings):
    hours = prepare_head_clips(settings, build=build_dots)
    assert hours * 3600 >= 5
    paths = list_clips([str(settings.out)])
    assert sum(load_clip(path).info.num_frames for path in paths) / 25 == pytest.approx(hours * 3600)
    for path in paths:
        clip, known = load_clip(path), load_clip_truth(path)
        count = clip.info.num_frames
        assert len(list(read_clip_frames(path))) == len(clip.landmarks) == len(clip.head_angles) == count
        assert len(clip.wave) == count * 640 == len(known["clean_voice"])
        assert clip.info.person in ("ann", "bob", "cy") and "CC0" in clip.info.license and "free" in clip.info.license
        assert known["flow"].shape == (count, 2, 64, 64) and known["flow"].dtype == np.float16
        assert clip.emotion.shape == (count, 7)
        moved = known["portrait_landmarks"] + known["translation"][0]  # the head is only moved and scaled
        if '"crop": "free"' in str(known["record"]):
            center, points = moved[27:48].mean(0), clip.landmarks[0]
            scale = known["scale"][0]
            assert points[27:36] - points[27:36].mean(0) == pytest.approx(
                scale * (moved[27:36] - moved[27:36].mean(0)), abs=1e-3
            )
            assert np.abs(points[27:48].mean(0) - center).max() < 0.2
        for name in ("head_radians", "gaze_radians", "blink", "scale", "emotion", "phoneme", "expression", "irises"):
            assert len(known[name]) == count
        spoken = known["phonemes"][known["phoneme"][known["phoneme"] >= 0]]
        assert set(spoken) <= set("apibomu") and len(spoken) > 10


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(settings, tmp_path):
    sets = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare_head_clips(dataclasses.replace(settings, out=tmp_path / folder, seed=seed), build=build_dots)
        sets.append(read_all(tmp_path / folder))
    assert sets[0] == sets[1] and sets[0] != sets[2]


def test_a_second_person_performs_the_same_motion(settings):
    settings = dataclasses.replace(settings, cross_identity_ratio=1.0)
    prepare_head_clips(settings, build=build_dots)
    pairs = [path for path in list_clips([str(settings.out)]) if path.stem.endswith("_second")]
    assert len(pairs) >= 2
    for path in pairs:
        first = path.with_name(path.name.replace("_second", ""))
        clips, known = [load_clip(p) for p in (first, path)], [load_clip_truth(p) for p in (first, path)]
        assert str(known[0]["motion_id"]) == str(known[1]["motion_id"]) == first.stem
        assert clips[0].info.person != clips[1].info.person
        assert np.array_equal(clips[0].wave, clips[1].wave)
        for name in ("head_radians", "translation", "scale", "gaze_radians", "blink", "emotion", "phoneme"):
            assert np.array_equal(known[0][name], known[1][name])
        gaps = [mouth_opening(clip.landmarks) for clip in clips]
        assert np.corrcoef(*gaps)[0, 1] > 0.95


class Interrupted(BaseException):
    """The end of the process, for a test."""


@pytest.mark.parametrize("frames", [3, 40, 75])
def test_an_interrupted_set_continues_to_the_same_files(settings, tmp_path, frames):
    drawn = 0

    def build_interrupted(image, model, size, seed, random):
        head = build_dots(image, model, size, seed, random)
        draw = head.draw

        def draw_interrupted(motion):
            nonlocal drawn
            drawn += 1
            if drawn == frames:
                raise Interrupted
            return draw(motion)

        head.draw = draw_interrupted
        return head

    prepare_head_clips(settings, build=build_dots)
    again = dataclasses.replace(settings, out=tmp_path / "again")
    with pytest.raises(Interrupted):
        prepare_head_clips(again, build=build_interrupted)
    prepare_head_clips(again, build=build_dots)
    assert read_all(again.out) == read_all(settings.out)


def test_a_complete_set_is_not_made_again(settings):
    prepare_head_clips(settings, build=build_dots)

    def build_none(*_):
        raise AssertionError("a head was built")

    prepare_head_clips(settings, build=build_none)


def test_a_picture_without_a_face_is_logged_with_its_reason(settings):
    prepare_head_clips(settings, build=build_dots)
    assert "dark.png" in (settings.out / "processing_log.jsonl").read_text()
    for name in ("ann", "bob", "cy"):
        (settings.photos / f"{name}.png").unlink()
    with pytest.raises(InputError, match="no picture can be used"):
        prepare_head_clips(dataclasses.replace(settings, out=settings.out.parent / "none"), build=build_dots)


def test_held_out_people_clips_and_languages_are_left_out(settings, tmp_path):
    names = tmp_path / "hold_out.txt"
    names.write_text("bob\ns1\nvoice:af_x\nlanguage:fr\n")
    hold_out = read_heads_hold_out(names)
    assert hold_out.people == {"bob", "s1"} and hold_out.voices == {"af_x"} and hold_out.languages == {"fr"}
    model = FaceModel.load(settings.face_model)
    make_real_clip(model, tmp_path / "real", "one", "s1"), make_real_clip(model, tmp_path / "real", "two", "s5")
    settings = dataclasses.replace(
        settings, hold_out=names, drivers=(tmp_path / "real",), hours=12 / 3600, languages=("fr", "de")
    )
    languages = {}
    for part in ("train", "held_out"):
        prepare_head_clips(dataclasses.replace(settings, part=part, out=tmp_path / part), build=build_dots)
        paths = list_clips([str(tmp_path / part)])
        people = {load_clip(path).info.person for path in paths}
        assert people == ({"ann", "cy"} if part == "train" else {"bob"})
        assert not any("one" in load_clip(path).info.source for path in paths)
        records = [str(load_clip_truth(path)["record"]) for path in paths]
        languages[part] = {k for k in ("fr", "de") if any(f'"language": "{k}"' in record for record in records)}
    assert languages == {"train": {"de"}, "held_out": {"fr"}}


def test_flow_in_a_crop_leads_to_the_same_point_of_the_portrait():
    centers = np.stack(np.meshgrid(*[(np.arange(64) + 0.5) / 64] * 2))
    flow = np.stack([0.05 * centers[1], -0.1 * centers[0]]).astype(np.float16)
    frame = PhotoTruth(flow, np.zeros((64, 64), np.uint8), *[np.zeros(2)] * 5, 1.0, 0.0)
    region, first = Region((33.0, 30.0), 40.0, 0.1), Region((31.0, 34.0), 44.0, -0.05)
    moved, unsourced = crop_flow(frame, region, first, 64)
    cell = np.array([20, 37])  # row, column
    place = region.matrix(1) @ np.array([*(cell[::-1] + 0.5) / 64, 1])  # pixels of the frame
    source = place / 64 + [0.05 * place[1] / 64, -0.1 * place[0] / 64]
    position = (cell[::-1] + 0.5) / 64 + moved[:, cell[0], cell[1]]
    assert first.matrix(1) @ np.array([*position, 1]) / 64 == pytest.approx(source, abs=2e-3)
    assert unsourced[cell[0], cell[1]] == 0


@pytest.mark.parametrize(
    "wrong",
    [{"size": 8}, {"hours": 0}, {"part": "test"}, {"part": "held_out"}, {"clips_per_job": 0}, {"seconds": (5.0, 2.0)}]
    + [{"cross_identity_ratio": 1.5}],
)
def test_impossible_settings_are_refused(settings, wrong):
    with pytest.raises(InputError):
        prepare_head_clips(dataclasses.replace(settings, **wrong), build=build_dots)


def test_emotions_are_labeled_in_the_order_of_the_condition():
    kinds = [EMOTION_NAMES.index(name) for name in ("neutral", "happy", "contempt", "afraid")]
    labels = label_emotions(EmotionTrack(np.array(kinds), np.array([0.0, 0.7, 0.5, 1.0])))
    assert labels[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert labels[1, [EMOTIONS.index("happy"), EMOTIONS.index("neutral")]] == pytest.approx([0.7, 0.3])
    assert np.isnan(labels[2]).all() and labels[3, EMOTIONS.index("afraid")] == 1
