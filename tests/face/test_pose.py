"""A head turned by a known speed is measured at that speed."""

import numpy as np
import pytest

from emo.face.pose import POSE_POINTS, POSE_TEMPLATE, head_angles, head_rotations, head_speed

FPS = 25.0


def rotation(axis: str, angle: float) -> np.ndarray:
    i, j = {"pitch": (1, 2), "yaw": (2, 0), "roll": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[[i, j], [i, j]] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def turning_head(axis: str, angles: np.ndarray, distance: float = 8.0, noise: float = 0.0) -> np.ndarray:
    """(T 68 2): a head 100 pixels wide between the eyes, through a camera `distance` such widths away."""
    rng = np.random.default_rng(0)
    landmarks = np.zeros((len(angles), 68, 2))
    for frame, angle in enumerate(angles):
        points = POSE_TEMPLATE @ rotation(axis, angle).T
        seen = points[:, :2] / (1 + points[:, 2:] / distance)
        landmarks[frame, POSE_POINTS] = [200, 150] + 100 * seen + noise * rng.standard_normal(seen.shape)
    return landmarks


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("speed", [0.2, 1.5])
def test_a_known_speed_is_measured(axis, speed):
    angles = speed / FPS * (np.arange(12) - 6)
    measured = head_speed(turning_head(axis, angles), FPS)
    assert measured.shape == (12,) and measured.dtype == np.float32
    assert measured == pytest.approx(np.full(12, speed), rel=0.1)


def test_angles_come_back_from_the_rotations_they_made():
    yaw, pitch, roll = angles = np.array([0.5, -0.3, 0.2])
    turned = rotation("roll", roll) @ rotation("pitch", pitch) @ rotation("yaw", yaw)
    assert head_angles(turned[None])[0] == pytest.approx(angles)
    seen = turning_head("yaw", np.array([-0.4, 0.0, 0.4]), distance=50.0)
    found = head_angles(head_rotations(seen))
    assert found[:, 0] == pytest.approx([-0.4, 0.0, 0.4], abs=0.03) and np.abs(found[:, 1:]).max() < 0.03


def test_speed_is_per_second_not_per_frame():
    landmarks = turning_head("yaw", np.linspace(-0.3, 0.3, 12))
    assert head_speed(landmarks, 50.0) == pytest.approx(2 * head_speed(landmarks, FPS))


def test_a_still_or_only_shifted_or_nearing_head_does_not_turn():
    landmarks = turning_head("yaw", np.full(12, 0.2))
    moved = landmarks * np.linspace(1, 1.3, 12)[:, None, None] + np.arange(12)[:, None, None]
    assert np.abs(head_speed(moved, FPS)).max() < 1e-5


def test_jitter_of_the_landmarks_is_not_taken_for_motion():
    still = turning_head("yaw", np.zeros(200), noise=0.5)
    assert np.median(head_speed(still, FPS)) < 0.15


def test_frames_without_a_face_have_no_speed_and_do_not_spoil_their_neighbours():
    landmarks = turning_head("yaw", 0.04 * np.arange(12))
    landmarks[[4, 5, 7]] = np.nan  # frame 6 stands alone
    measured = head_speed(landmarks, FPS)
    assert np.isnan(measured[4:8]).all()
    assert measured[[0, 3, 8, 11]] == pytest.approx(np.ones(4), rel=0.1)


def test_rotations_are_rotations_and_are_right():
    angles = np.linspace(-0.6, 0.6, 7)
    rotations = head_rotations(turning_head("pitch", angles, distance=1e6))
    assert np.allclose(rotations @ rotations.swapaxes(1, 2), np.eye(3))
    assert np.allclose(rotations, [rotation("pitch", angle) for angle in angles], atol=1e-3)
