"""A video is compared with its portrait at the portrait's own resolution."""

import cv2
import numpy as np
import pytest
from PIL import Image

from emo.core.errors import InputError
from emo.core.files import load_arrays
from emo.face.crop import region_of_landmarks, transform_points
from emo.metrics.portrait import (
    PortraitObserver,
    head_sharpness,
    match_portraits,
    measure_portrait,
    open_mouth_sharpness,
    read_portrait,
)
from emo.metrics.tracks import CachedLandmarks


@pytest.fixture(scope="module")
def large(footage):
    """The portrait at three times the footage's size, with detail that only it has, and its landmarks."""
    noise = np.random.default_rng(0).normal(0, 25, (480, 480, 3))
    picture = cv2.resize(footage.frames[0], (480, 480), interpolation=cv2.INTER_CUBIC) + noise
    return picture.clip(0, 255).astype(np.uint8), 3.0 * footage.landmarks[0].astype(np.float64)


def test_the_portrait_itself_is_as_sharp_and_as_far_away(large):
    picture, points = large
    portrait = measure_portrait(picture, points)
    np.testing.assert_allclose(portrait.compare(picture, points, portrait.scale_of(picture, points)), 1)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_blur_is_less_sharp(large, sigma):
    picture, points = large
    head, mouth, distance = measure_portrait(picture, points).compare(
        cv2.GaussianBlur(picture, (0, 0), sigma), points, 1.0
    )
    assert head < 0.75 / sigma and mouth < 0.75 / sigma and distance == pytest.approx(1)


def test_crisp_hair_does_not_hide_a_soft_face(large):
    picture, points = large
    side = region_of_landmarks(points).side
    center = tuple(np.round(transform_points(region_of_landmarks(points).matrix(1), np.array([0.5, 0.55]))).astype(int))
    mask = cv2.circle(np.zeros(picture.shape[:2], np.uint8), [int(v) for v in center], round(0.42 * side), 1, -1)
    soft = np.where(mask[..., None], cv2.GaussianBlur(picture, (0, 0), 2.0), picture)
    assert measure_portrait(picture, points).compare(soft, points, 1.0)[0] < 0.5


def test_a_smaller_video_is_measured_at_the_portraits_size(large):
    picture, points = large
    portrait, small = measure_portrait(picture, points), cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
    assert portrait.scale_of(small, points / 3) == 3
    head, _, distance = portrait.compare(small, points / 3, 3.0)
    assert head < 0.6 and distance == pytest.approx(1, abs=0.01)


def test_a_crop_is_measured_at_the_scale_of_its_face(large):
    picture, points = large
    portrait = measure_portrait(picture, points)
    cut = cv2.resize(picture[60:420, 60:420], (180, 180), interpolation=cv2.INTER_AREA)
    assert portrait.scale_of(cut, (points - 60) / 2) == pytest.approx(2)


def test_a_head_twice_as_far_away_is_half_as_large(large):
    picture, points = large
    matrix = np.array([[0.5, 0, 120], [0, 0.5, 120]])
    far = cv2.warpAffine(picture, matrix, (480, 480))
    assert measure_portrait(picture, points).compare(far, transform_points(matrix, points), 1.0)[2] == pytest.approx(2)


def test_only_frames_with_an_open_mouth_count(footage):
    opening = np.array([np.linalg.norm(p[62] - p[66]) for p in footage.landmarks])
    comparison = np.full((len(opening), 3), 0.2)
    comparison[opening > np.median(opening), 1] = 0.9
    assert open_mouth_sharpness(comparison, footage.landmarks) == 0.9
    assert np.isnan(open_mouth_sharpness(comparison, np.repeat(footage.landmarks[:1], len(opening), 0) * [1, 0]))
    assert np.isnan(open_mouth_sharpness(np.full((1, 3), np.nan), footage.landmarks))


def test_the_comparison_of_a_video_has_a_row_a_frame(footage, tmp_path):
    points = footage.landmarks[:8].astype(np.float64)
    points[3] = np.nan
    portrait = measure_portrait(footage.frames[0], footage.landmarks[0])
    observer = PortraitObserver(CachedLandmarks(points), portrait, tmp_path / "portrait.safetensors")
    for number, frame in enumerate(footage.frames[:8]):
        observer.add_frame(number, frame)
    observer.save()
    stored = load_arrays(observer.path)
    assert stored["portrait"].shape == (8, 3) and np.isnan(stored["portrait"][3]).all()
    assert stored["portrait"][0].tolist() == [1, 1, 1] and 0.8 < head_sharpness(stored["portrait"]) < 1.2
    np.testing.assert_array_equal(stored["portrait_pose"], portrait.pose)


def test_videos_are_matched_by_the_longest_name(tmp_path):
    for name in ("anna.png", "anna_old.jpg", "bert.webp"):
        (tmp_path / name).touch()
    videos = [tmp_path / f"{name}.mp4" for name in ("anna_song", "anna_old__song", "bert", "berta", "carl")]
    found = match_portraits(tmp_path, videos)
    assert {video.stem: picture.name for video, picture in found.items()} == {
        "anna_song": "anna.png",
        "anna_old__song": "anna_old.jpg",
        "bert": "bert.webp",
    }
    with pytest.raises(InputError, match="PORTRAIT_SOUND.mp4"):
        match_portraits(tmp_path, videos[3:])


def test_a_picture_without_a_face_is_named(tmp_path, samples):
    assert read_portrait(samples / "portrait.png").shape == (512, 512)
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"no face found in .*black.png"):
        read_portrait(tmp_path / "black.png")
