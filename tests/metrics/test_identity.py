"""Faces are cropped as insightface and Deep3DFaceRecon crop them, at any position and rotation."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from emo.core.errors import InputError
from emo.face.landmarks import ARCFACE_TEMPLATE, align_face, five_points, similarity_transform
from emo.face.pose import POSE_POINTS, POSE_TEMPLATE
from emo.metrics.identity import extract_features, measure_identity
from emo.metrics.motion import delta_p
from emo.metrics.networks import expression
from emo.models.arcface import STAGE_DEPTHS, IResNet, load_arcface

# Said by insightface's iresnet18 and Deep3DFaceRecon_pytorch's net_recon of the made-up weights
SAID_ARCFACE = [0.000185, 0.055414, -0.048225, -0.106882, -0.026320, 0.088795, -0.042670, 0.106365]
SAID_REGRESSOR = [7.472796, -1.920891, -1.444811, 0.733620, -0.562734, 0.259409, 5.741313, -2.096571]
STANDARD = np.array([[-0.3, 0.3, 0.2], [0.3, 0.3, 0.2], [0, 0, 0.6], [-0.25, -0.4, 0.3], [0.25, -0.4, 0.3]])


def landmarks_at(points: np.ndarray) -> np.ndarray:
    """(68 2) whose five points these are."""
    landmarks = np.full((68, 2), 5.0)
    landmarks[[36, 39]], landmarks[[42, 45]], landmarks[[30, 48, 54]] = points[0], points[1], points[2:]
    return landmarks


@pytest.fixture(scope="module")
def arcface(made_up, tmp_path_factory) -> IResNet:
    path = tmp_path_factory.mktemp("arcface") / "backbone.pth"
    torch.save(made_up(IResNet(STAGE_DEPTHS[2])), path)
    return load_arcface(path)


def test_arcface_says_what_insightface_says(arcface, pictures, shapes_of):
    frames = pictures(2, 112)
    found = extract_features(arcface, frames, np.stack([landmarks_at(ARCFACE_TEMPLATE)] * 2))  # in place already
    assert found[0, ::64] == pytest.approx(SAID_ARCFACE, abs=2e-5)
    assert found[0] @ found[1] == pytest.approx(0.056389, abs=2e-5)
    with torch.device("meta"):
        assert [len(shapes_of(IResNet(STAGE_DEPTHS[k]))) for k in (4, 14, 30)] == [276, 396, 771]


def test_a_face_that_is_turned_and_far_is_brought_into_place():
    turn = 0.4 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    points = ARCFACE_TEMPLATE @ turn.T + [90, 30]
    back = similarity_transform(points, ARCFACE_TEMPLATE)
    assert np.abs(points @ back[:, :2].T + back[:, 2] - ARCFACE_TEMPLATE).max() < 1e-9
    y, x = np.mgrid[:160, :200]
    frame = np.stack([255 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in points[:3]]).astype(np.uint8)
    face = align_face(frame, points)
    for plane, (a, b) in zip(face, ARCFACE_TEMPLATE, strict=False):
        assert np.unravel_index(plane.argmax(), plane.shape) == pytest.approx((b, a), abs=2)


def test_the_worst_frame_is_found_and_unseen_ones_are_left_out():
    person, stranger = np.eye(512)[:2]
    faces = np.stack([person, person, 0.6 * person + 0.8 * stranger, np.full(512, np.nan)])
    found = measure_identity(faces, np.stack([person, np.full(512, np.nan)]))
    assert (found.mean, found.worst, found.worst_frame) == pytest.approx((2.6 / 3, 0.6, 2))
    with pytest.raises(InputError, match="no face is visible"):
        measure_identity(faces[3:], faces)


def test_unseen_faces_have_no_features(arcface, pictures):
    found = extract_features(
        arcface, pictures(2, 112), np.stack([landmarks_at(ARCFACE_TEMPLATE), np.full((68, 2), np.nan)])
    )
    assert np.isfinite(found).all(1).tolist() == [True, False]


def test_other_weights_are_an_error(tmp_path):
    with pytest.raises(InputError, match="none.pth can't be loaded as ArcFace .*No such file.*get backbone.pth from"):
        load_arcface(tmp_path / "none.pth")


def test_the_regressor_says_what_the_published_one_says(made_up, pictures, tmp_path):
    torch.save({"net_recon": made_up(expression.FaceRegressor())}, tmp_path / "epoch_20.pth")
    net = expression.load_regressor(tmp_path / "epoch_20.pth")
    with torch.no_grad():
        found = net(torch.from_numpy(pictures(1, 224)).float() / 255)
    assert found.shape == (1, 64)
    assert found[0, ::8].tolist() == pytest.approx(SAID_REGRESSOR, abs=1e-3)


def test_the_crop_is_the_published_one(pictures, tmp_path):
    noise = np.random.RandomState(4).rand(5, 2)
    points = STANDARD[:, :2] * [130, -135] + [190, 160] + noise
    crop = expression.align_to_standard_face(pictures(1, 384)[0][:, :320], points, STANDARD)
    assert crop.shape == (3, 224, 224)
    assert crop.mean() == pytest.approx(129.0366, abs=1e-3)  # from Deep3DFaceRecon_pytorch, every point the same
    standard = np.zeros((68, 3))
    standard[[36, 39]], standard[[42, 45]], standard[[30, 48, 54]] = STANDARD[0], STANDARD[1], STANDARD[2:]
    savemat(tmp_path / "lm.mat", {"lm": standard})
    assert np.array_equal(expression.load_standard_face(tmp_path / "lm.mat"), STANDARD)
    assert np.array_equal(five_points(standard[None])[0], STANDARD)
    with pytest.raises(
        InputError, match="none.mat does not contain the mean face .*download BFM/similarity_Lm3D_all.mat from"
    ):
        expression.load_standard_face(tmp_path / "none.mat")


def heads(yaw: np.ndarray) -> np.ndarray:
    """(T 68 2) landmarks of the skull under a distant camera, turned by yaw (T,) degrees."""
    landmarks = np.zeros((len(yaw), 68, 2))
    for frame, angle in enumerate(np.radians(yaw)):
        turned = POSE_TEMPLATE @ np.array(
            [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
        )
        landmarks[frame, POSE_POINTS] = 100 + 80 * turned[:, :2]
    return landmarks


def test_delta_p_is_how_far_the_head_turns_in_a_frame():
    yaw = np.array([0.0, 3.0, 0.0, 3.0, 6.0])
    assert delta_p(heads(yaw)) == pytest.approx(3 / 3, abs=1e-6)  # of three angles two rest
    broken = heads(yaw)
    broken[2] = np.nan
    assert delta_p(broken) == pytest.approx(1, abs=1e-6)
    assert delta_p(heads(np.zeros(4))) == pytest.approx(0, abs=1e-9)
    assert np.isnan(delta_p(broken[1:3]))
