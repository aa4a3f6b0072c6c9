"""Photographs that move: their frames show what was asked for, and their truth is true."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.fitting import (
    FitLimits,
    FitRejected,
    PhotoLandmarks,
    angles_of_rotation,
    check_eyes,
    check_fit,
    check_lips,
    fit_expressions,
    fit_landmarks,
    mouth_opening,
    rotation_of_angles,
)
from emo.synthetic.heads.mouth_interior import draw_tones
from emo.synthetic.heads.photo_head import MotionFrame, PhotoFrame, PhotoHead
from emo.synthetic.heads.rasterizer import rasterize
from emo.synthetic.heads.warp_field import grid_centers

SIZE = 256
STILL = MotionFrame.neutral()


@pytest.fixture(scope="module")
def head(model: FaceModel, draw_portrait) -> PhotoHead:
    image, found = draw_portrait(model, SIZE)
    return PhotoHead.build(image, model, SIZE, seed=3, face=found)


def warp(head: PhotoHead, frame: PhotoFrame) -> tuple[np.ndarray, np.ndarray]:
    """The portrait warped by a frame's truth, and (S S) bool where it has a source."""
    flow = np.float32(frame.truth.flow.transpose(1, 2, 0))
    places = cv2.resize(flow, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) + grid_centers(SIZE)
    warped = cv2.remap(
        head.portrait, np.float32(places * SIZE - 0.5), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return warped, cv2.resize(frame.truth.unsourced, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) == 0


def close_eye(lids: np.ndarray) -> np.ndarray:
    """(6 2) lids of an eye -> those of the closed one."""
    return np.concatenate([lids[:4], lids[[2, 1]] + [0, 1]])


MOTIONS = {
    "jaw": lambda m: replace(STILL, expression=m.weights(jawOpen=0.5)),
    "turn": lambda m: replace(STILL, head_radians=np.array([0.2, -0.1, 0.1])),
    "move": lambda m: replace(STILL, translation=np.array([0.05, -0.03]), scale=1.15),
    "gaze": lambda m: replace(STILL, gaze_radians=np.array([0.3, 0.1])),
    "blink": lambda m: replace(STILL, blink=np.array([1.0, 0.4])),
}


def test_a_still_frame_is_the_portrait(head: PhotoHead):
    frame = head.draw(STILL)
    assert np.abs(frame.image.astype(int) - head.portrait).mean() < 0.1
    assert np.abs(frame.truth.flow).max() < 1e-3
    assert frame.truth.unsourced.max() == 0


@pytest.mark.parametrize("name", MOTIONS)
def test_the_truth_warps_the_portrait_to_the_frame(head: PhotoHead, name: str):
    frame = head.draw(MOTIONS[name](head.shape.model))
    assert np.abs(frame.image.astype(int) - head.portrait).max() > 20
    warped, sourced = warp(head, frame)
    error = ((warped.astype(float) - frame.image)[sourced] ** 2).mean()
    assert sourced.mean() > 0.7
    assert frame.truth.distance == pytest.approx(1 / 1.15 if name == "move" else 1)
    assert 10 * np.log10(255**2 / error) >= 30


def test_an_open_mouth_shows_what_the_portrait_does_not(head: PhotoHead):
    openings = [head.draw(replace(STILL, expression=head.shape.model.weights(jawOpen=w))).truth for w in (0, 0.2, 0.4)]
    assert openings[0].mouth_opening < 0.005 < openings[1].mouth_opening < openings[2].mouth_opening
    lost = [truth.unsourced.astype(float).sum() for truth in openings]
    assert lost[0] == 0 < lost[1] < lost[2]
    marks = openings[2].landmarks
    x, y = (marks[[62, 66]].mean(0) * 64).astype(int)
    assert openings[2].unsourced[y, x] == 255


def test_teeth_are_neither_white_nor_dark(head: PhotoHead):
    frame = head.draw(replace(STILL, expression=head.shape.model.weights(jawOpen=0.4)))
    mouth = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mouth, [np.round(frame.truth.landmarks[60:68] * SIZE).astype(np.int32)], 1)
    inside = cv2.erode(mouth, np.ones((3, 3), np.uint8)) > 0
    brightest = np.percentile(frame.image[inside].mean(1), 90)
    assert 70 < brightest < 235


def test_people_have_teeth_of_different_tones(head: PhotoHead):
    tones = [draw_tones(head.shape, head.texture, np.random.default_rng(k))["teeth"] for k in range(12)]
    assert np.ptp([tone.mean() for tone in tones]) > 10
    assert all(tone.max() < 240 and tone[2] < tone[0] for tone in tones)  # ivory, not white


def test_landmarks_move_as_a_rigid_head_does(head: PhotoHead):
    turn = np.array([0.2, 0.0, 0.0])
    nose = [head.draw(replace(STILL, head_radians=s * turn)).truth.landmarks[30] for s in (-1, 0, 1)]
    assert nose[0][0] > nose[1][0] + 0.02 and nose[2][0] < nose[1][0] - 0.02  # yaw > 0 is the picture's left
    up = head.draw(replace(STILL, head_radians=np.array([0, 0.2, 0]))).truth
    assert up.landmarks[30][1] < nose[1][1] - 0.02
    assert np.allclose(up.head_radians - head.neutral_truth.head_radians, [0, 0.2, 0], atol=1e-3)


def test_the_side_of_a_turned_head_that_comes_nearer_is_larger(head: PhotoHead):
    still, turned = (head.draw(replace(STILL, head_radians=np.array([a, 0, 0]))).truth.landmarks for a in (0.0, 0.3))
    heights = [points[[48, 54], 1] - points[[17, 26], 1] for points in (still, turned)]
    left, right = heights[1] / heights[0]  # without perspective both would be as high as before
    assert left < 0.99 and right > 1.01


def test_the_drawn_nose_is_where_the_truth_says(head: PhotoHead, model: FaceModel, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    nose = np.round(found.landmarks[30]).astype(int)
    marked = image.copy()
    cv2.circle(marked, nose.tolist(), 3, (0, 255, 0), -1)
    green = PhotoHead.build(marked, model, SIZE, face=found)
    frame = green.draw(replace(STILL, head_radians=np.array([0.15, 0.1, 0.05]), scale=0.9))
    hit = (frame.image[..., 1].astype(int) - frame.image[..., 0] > 100).nonzero()
    drawn = np.array([hit[1].mean(), hit[0].mean()]) + 0.5
    shift = frame.truth.landmarks[30] * SIZE - head.neutral_truth.landmarks[30] * SIZE
    assert np.linalg.norm(drawn - (nose + 0.5) - shift) < 2


def test_a_gaze_moves_the_irises(head: PhotoHead):
    left = head.draw(replace(STILL, gaze_radians=np.array([0.35, 0])))
    moved = (left.truth.irises - head.neutral_truth.irises) * SIZE
    assert (moved[:, 0] < -1.5).all() and np.abs(moved[:, 1]).max() < 0.5
    for iris, was in zip(left.truth.irises, head.neutral_truth.irises, strict=True):
        x, y = np.floor(iris * SIZE).astype(int)
        assert left.image[y, x].mean() < 110  # the iris
        x = int(np.floor(was[0] * SIZE + 3))
        assert left.image[int(was[1] * SIZE), x].mean() > 150  # white where it was


def test_a_blink_covers_the_eye_of_its_side(head: PhotoHead):
    frame = head.draw(replace(STILL, blink=np.array([1.0, 0.0])))
    left, right = head.irises[1], head.irises[0]  # the person's left is at the picture's right
    dark = [frame.image[int(i[1] * SIZE), int(i[0] * SIZE)].mean() for i in (left, right)]
    assert dark[0] > 100 and dark[1] < 100
    assert frame.truth.blink.tolist() == [1.0, 0.0]
    eye = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(eye, [np.round(head.shape.landmarks[42:48] * SIZE).astype(np.int32)], 1)
    closed, lid = np.median(frame.image[eye > 0], 0), np.array([205, 160, 135])  # as bright as the skin around it
    assert np.abs(closed - lid).max() < 30
    x, y = (right * SIZE).astype(int)
    around = slice(y - 8, y + 8), slice(x - 12, x + 12)
    assert np.abs(frame.image[around].astype(int) - head.portrait[around]).max() < 12  # the other eye is as it was


def test_a_portrait_is_drawn_the_same_each_time(head: PhotoHead, model: FaceModel, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    motion = replace(STILL, expression=model.weights(jawOpen=0.4), head_radians=np.array([0.1, 0, 0]))
    twin = PhotoHead.build(image, model, SIZE, seed=3, face=found)
    other = PhotoHead.build(image, model, SIZE, seed=4, face=found)
    assert np.array_equal(head.draw(motion).image, twin.draw(motion).image)
    assert not np.array_equal(head.draw(motion).image, other.draw(motion).image)


def test_a_fit_finds_pose_and_survives_a_wrong_landmark(model: FaceModel, draw_portrait):
    _, found = draw_portrait(model, SIZE, (0.25, -0.1, 0.08))
    wrong = found.landmarks.copy()
    wrong[30] += [18, -14]
    for landmarks in (found.landmarks, wrong):
        fit = fit_landmarks(landmarks, model)
        assert np.abs(fit.head_radians - [0.25, -0.1, 0.08]).max() < 0.06
    assert np.allclose(angles_of_rotation(rotation_of_angles((0.3, 0.2, -0.1))), [0.3, 0.2, -0.1])


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("small", lambda m: m * 0.3),
        ("bad_fit", lambda m: m + 9 * np.sin(np.arange(136).reshape(68, 2) * 7.0)),
        ("open_mouth", lambda m: np.concatenate([m[:65], m[65:] + [0, 15]])),
        ("closed_eyes", lambda m: np.concatenate([m[:36], *[close_eye(m[k : k + 6]) for k in (36, 42)], m[48:]])),
    ],
)
def test_a_photograph_is_rejected_with_a_reason(model: FaceModel, reason: str, change, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    with pytest.raises(FitRejected) as rejected:
        PhotoHead.build(image, model, SIZE, face=PhotoLandmarks(change(found.landmarks), found.irises))
    assert rejected.value.reason == reason


def test_dark_glasses_are_rejected(model: FaceModel, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    for eye in (found.landmarks[36:42], found.landmarks[42:48]):
        cv2.circle(image, np.round(eye.mean(0)).astype(int).tolist(), 24, (20, 20, 25), -1)
    with pytest.raises(FitRejected) as rejected:
        PhotoHead.build(image, model, SIZE, face=found)
    assert rejected.value.reason == "hidden_eyes"


def test_eyes_in_the_dark_are_rejected(model: FaceModel, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    eyes = [np.round(found.landmarks[k : k + 6]).astype(np.int32) for k in (36, 42)]
    cv2.fillPoly(image, eyes[:1], (30, 28, 27))
    check_eyes(image, found.landmarks)  # one eye is enough
    cv2.fillPoly(image, eyes[1:], (30, 28, 27))
    with pytest.raises(FitRejected, match="shadow"):
        check_eyes(image, found.landmarks)


def test_teeth_between_parted_lips_are_rejected(model: FaceModel, draw_portrait):
    image, found = draw_portrait(model, SIZE)
    landmarks = found.landmarks.copy()
    landmarks[65:68, 1] += 4
    assert 0.02 < mouth_opening(landmarks[None])[0] < FitLimits().max_opening
    check_lips(image, landmarks)
    cv2.fillPoly(image, [np.round(landmarks[60:68]).astype(np.int32)], (200, 195, 180))
    with pytest.raises(FitRejected, match="teeth"):
        check_lips(image, landmarks)


def test_a_turned_head_is_rejected(model: FaceModel, draw_portrait):
    _, found = draw_portrait(model, SIZE, (0.6, 0, 0))
    with pytest.raises(FitRejected, match="degrees"):
        check_fit(fit_landmarks(found.landmarks, model), found.landmarks, FitLimits())


def test_expressions_of_a_clip_are_fitted(model: FaceModel, draw_portrait):
    weights = np.array([0, 0.2, 0.45, 0.1])
    frames = []
    for weight in weights:
        _, found = draw_portrait(model, SIZE, (0.1, 0, 0))
        pose = fit_landmarks(found.landmarks, model).pose
        vertices = model.vertices(np.zeros(2), model.weights(jawOpen=weight), model.landmarks)
        frames.append(pose.project(vertices)[:, :2])
    frames.insert(2, np.full((68, 2), np.nan))
    fitted, angles = fit_expressions(np.array(frames), model, smoothness=0.0)
    jaw = fitted[:, model.names.index("jawOpen")]
    assert np.isnan(jaw[2]) and np.isnan(angles[2]).all()
    assert np.corrcoef(np.delete(jaw, 2), weights)[0, 1] > 0.98
    assert np.delete(jaw, 2)[2] > 0.25


def test_the_nearest_triangle_covers_a_pixel():
    points = np.array(
        [[0, 0, 5], [8, 0, 5], [0, 8, 5], [0, 0, 2], [4, 0, 2], [0, 4, 2], [20, 20, 0], [21, 20, 0], [20, 21, 0]]
    )
    fragments = rasterize(np.float32(points), np.array([[0, 1, 2], [3, 5, 4], [6, 7, 8]]), 8, 8)
    owner = np.full(64, -1)
    owner[fragments.pixels] = fragments.triangles
    rows, columns = np.mgrid[:8, :8]
    inside = (rows + columns + 1 <= 8).ravel()
    near = (rows + columns + 1 <= 4).ravel()
    assert (owner[near] == 1).all() and (owner[inside & ~near] == 0).all() and (owner[~inside] == -1).all()
    drawn = fragments.interpolate(np.float32(points[:, :2]), np.array([[0, 1, 2], [3, 5, 4], [6, 7, 8]]))
    assert np.allclose(drawn[:, 0], fragments.pixels % 8 + 0.5, atol=1e-4)


def test_a_model_is_read_from_obj_files_and_from_npz(tmp_path, model: FaceModel):
    def write(name: str, offset: float) -> None:
        rows = [f"v {x} {y + offset} 0.5" for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
        (tmp_path / name).write_text("\n".join([*rows, "f 1/1 2/2 3/3 4/4"]))

    write("generic_neutral_mesh.obj", 0)
    with pytest.raises(InputError, match="identity"):
        FaceModel.load(tmp_path)
    write("identity000.obj", 0.5)
    write("jawOpen.obj", -1)
    with pytest.raises(InputError, match="landmarks"):
        FaceModel.load(tmp_path)  # four vertices are not ICT-FaceKit
    with pytest.raises(InputError, match="not a packed face model"):
        (tmp_path / "x.npz").write_bytes(b"no")
        FaceModel.load(tmp_path / "x.npz")
    arrays = {
        "neutral": model.neutral * [1, -1, -1],
        "identity": model.identity * [1, -1, -1],
        "expression": model.expression * [1, -1, -1],
        "expression_names": np.array(model.names),
        "tri": model.triangles,
        "part_names": np.array(list(model.parts)),
        "part_ranges": np.array(list(model.parts.values())),
        "landmarks": model.landmarks,
    }
    np.savez(tmp_path / "small.npz", **arrays)
    again = FaceModel.load(tmp_path / "small.npz")
    assert np.allclose(again.neutral, model.neutral) and again.parts == model.parts
