"""The packaged networks find the rendered face wherever it is put, and nobody where nobody is."""

import cv2
import numpy as np
import pytest
import torch

from emo.face.crop import Region, transform_points
from emo.face.detector import WEIGHTS, FaceDetector, heatmap_peaks, regions_match, suppress_duplicates
from emo.face.landmarks import MIRRORED_POINTS
from emo.face.networks import CROP_PIXELS, FaceNet
from emo.synthetic.sample_portrait import paint_portrait

EYES, MOUTH, CHIN = np.array([[203, 223], [310, 223]]), np.array([257, 342]), np.array([258, 408])


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return paint_portrait()


def assert_fits(landmarks: np.ndarray, matrix: np.ndarray) -> None:
    """The landmarks are those of the portrait after this map, to a tenth of the distance of its eyes."""
    expected = transform_points(matrix, EYES if matrix[0, 0] > 0 else EYES[::-1])
    unit = np.linalg.norm(expected[1] - expected[0])
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    assert np.abs(eyes - expected).max() < 0.1 * unit
    assert np.abs(landmarks[48:60].mean(0) - transform_points(matrix, MOUTH)).max() < 0.1 * unit
    assert np.abs(landmarks[8] - transform_points(matrix, CHIN)).max() < 0.2 * unit


def test_the_portrait_has_one_face_and_its_landmarks_lie_on_it(detector, portrait):
    (face,) = detector.detect(portrait)
    assert_fits(face.landmarks, np.eye(2, 3))
    x0, y0, x1, y1 = face.box
    assert 130 < x0 < 185 and 110 < y0 < 175 and 335 < x1 < 390 and 390 < y1 < 430
    assert face.landmarks.shape == (68, 2) and 0.5 <= face.score <= 1


@pytest.mark.parametrize("degrees", [-40, 20, 40])
def test_a_rolled_head_is_found_and_its_region_rolls_with_it(detector, portrait, degrees):
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1)  # clockwise
    (face,) = detector.detect(cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE))
    assert_fits(face.landmarks, matrix)
    assert np.degrees(face.region.angle_radians) == pytest.approx(degrees, abs=6)


@pytest.mark.parametrize("size", [64, 200, 1500])
def test_the_picture_may_be_small_or_large(detector, portrait, size):
    (face,) = detector.detect(cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA))
    assert_fits(face.landmarks, np.eye(2, 3) * size / 512)


@pytest.mark.parametrize("height", [40, 120])
def test_a_small_face_in_a_wide_picture(detector, portrait, height):
    scale = height / 512
    picture = np.full((240, 420, 3), 150, np.uint8)
    picture[80 : 80 + height, 250 : 250 + height] = cv2.resize(portrait, (height, height), interpolation=cv2.INTER_AREA)
    (face,) = detector.detect(picture)
    assert_fits(face.landmarks, np.array([[scale, 0, 250], [0, scale, 80]]))


def test_of_two_faces_the_larger_comes_first(detector, portrait):
    picture = np.concatenate([np.full((512, 256, 3), 140, np.uint8), portrait], axis=1)
    picture[200:456, :256] = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    large, small = detector.detect(picture)
    assert_fits(large.landmarks, np.array([[1.0, 0, 256], [0, 1, 0]]))
    assert_fits(small.landmarks, np.array([[0.5, 0, 0], [0, 0.5, 200]]))


def test_an_excluded_face_is_not_verified_and_hides_no_other(detector, portrait, monkeypatch):
    picture = np.full((1100, 2200, 3), 140, np.uint8)  # scaled down before it is looked at
    for corner in (0, 1100):
        picture[:1024, corner : corner + 1024] = cv2.resize(portrait, (1024, 1024))
    left, right = sorted((face.region for face in detector.detect(picture)), key=lambda region: region.center)
    looked, settle = [], detector.locate_landmarks
    monkeypatch.setattr(
        detector,
        "locate_landmarks",
        lambda image, regions, *rest: looked.append(regions) or settle(image, regions, *rest),
    )
    (face,) = detector.detect(picture, [left])
    assert regions_match(face.region, right) and all(region.center[0] > 512 for region in looked[0])
    assert detector.detect(picture, [left, right]) == []


@pytest.mark.parametrize("style", ["grey", "dark", "mirrored", "posterised", "noisy"])
def test_styles(detector, portrait, style):
    noise = np.random.default_rng(0).normal(0, 12, portrait.shape)
    picture = {
        "grey": portrait.mean(-1, keepdims=True).repeat(3, -1),
        "dark": portrait * 0.35,
        "mirrored": portrait[:, ::-1],
        "posterised": portrait // 48 * 48 + 24,
        "noisy": np.clip(portrait + noise, 0, 255),
    }[style].astype(np.uint8)
    (face,) = detector.detect(np.ascontiguousarray(picture))
    assert_fits(face.landmarks, np.array([[-1.0, 0, 512], [0, 1, 0]]) if style == "mirrored" else np.eye(2, 3))


def text_page() -> np.ndarray:
    page = np.full((500, 400, 3), 250, np.uint8)
    for line in range(24):
        text = "The quick brown fox jumps over the lazy dog"[line % 7 :]
        cv2.putText(page, text, (10, 20 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return page


def hills() -> np.ndarray:
    x = np.arange(480)
    y = np.arange(320)[:, None]
    picture = np.stack([np.broadcast_to(y * 0.2 + c, (320, 480)) for c in (120, 160, 220)], -1)
    for level, shade in [(150, 0.9), (200, 0.6), (260, 0.4)]:
        line = level + 25 * np.sin(x / 70 + level) + 8 * np.sin(x / 17)
        picture = np.where((y > line)[..., None], np.array([90, 140, 80]) * shade, picture)
    return picture.astype(np.uint8)


NOBODY = {
    "plain": lambda: np.full((200, 300, 3), 127, np.uint8),
    "gradient": lambda: np.linspace(0, 255, 256).astype(np.uint8)[:, None, None].repeat(256, 1).repeat(3, 2),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8),
    "checkers": lambda: (np.indices((320, 320)).sum(0) // 20 % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2),
    "text": text_page,
    "hills": hills,
    "one pixel": lambda: np.zeros((1, 1, 3), np.uint8),
    "a line": lambda: np.zeros((2, 3000, 3), np.uint8),
}


@pytest.mark.parametrize("picture", NOBODY.values(), ids=NOBODY.keys())
def test_pictures_without_a_face(detector, picture):
    assert detector.detect(picture()) == []


def test_the_same_picture_gives_the_same_face(detector, portrait):
    first, second = (detector.detect(portrait)[0].landmarks for _ in range(2))
    assert np.array_equal(first, second)


def test_the_packaged_weights_are_small():
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_saving_and_loading_gives_the_same_answers(tmp_path):
    net = FaceNet.load(WEIGHTS)
    net.save(tmp_path / "face.safetensors")
    pictures, crops = torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, CROP_PIXELS, CROP_PIXELS)
    before, after = net(pictures, crops), FaceNet.load(tmp_path / "face.safetensors")(pictures, crops)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [tuple(x.shape) for x in after] == [(1, 8, 12), (1, 3, 8, 12), (1, 68, 2), (1,), (1, 68, 576)]


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    net = FaceNet()
    outputs = net(torch.randn(2, 3, 64, 64), torch.randn(2, 3, CROP_PIXELS, CROP_PIXELS))
    sum(output.square().sum() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_mirroring_twice_changes_nothing():
    mirrored = np.array(MIRRORED_POINTS)
    assert np.array_equal(mirrored[mirrored], np.arange(68)) and mirrored[36] == 45 and mirrored[48] == 54


def test_peaks_reads_center_and_size():
    heat, geometry = torch.zeros(6, 8), torch.zeros(3, 6, 8)
    heat[2, 5], heat[2, 6] = 0.9, 0.5
    geometry[:, 2, 5] = torch.tensor([0.25, -0.5, np.log(3.0)])
    ((score, region),) = heatmap_peaks(heat, geometry, cell_pixels=16)
    assert score == pytest.approx(0.9)
    assert region.center == pytest.approx((92, 32)) and region.side == pytest.approx(48)


def test_suppression_keeps_the_first_of_two_on_the_same_face():
    first, near, inside = Region((100, 100), 80), Region((110, 105), 90), Region((100, 100), 30)
    assert suppress_duplicates([first, near, inside]) == [first, inside]
