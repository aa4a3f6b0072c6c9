"""FID's network gives torch-fidelity's results with the same weights, and its distance moves in the right direction."""

from math import prod

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.metrics.distances import feature_distance
from emo.metrics.networks.inception import Inception, clean_resize, extract_features, load_inception

# Said by torch-fidelity 0.4.0 of the made-up weights and `picture`
SAID = {256: 0.22246412932872772, 1024: 0.1750808209180832, 1536: 0.20247021317481995, 768: 0.0030519736874848604}


@pytest.fixture(scope="module")
def net(made_up, tmp_path_factory) -> Inception:
    path = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(made_up(Inception()), path)
    return load_inception(path)


def test_features_are_those_of_torch_fidelity(net, pictures):
    picture = np.pad(pictures(2, 296), ((0, 0), (0, 0), (0, 3), (0, 3)), mode="edge")[:1]  # 299: nothing to resize
    found = extract_features(net, picture)
    assert found.shape == (1, 2048)
    assert {k: found[0, k] for k in SAID} == pytest.approx(SAID, abs=1e-5)


def test_the_layout_is_the_published_one(shapes_of):
    shapes = shapes_of(Inception())
    assert len(shapes) == 472 and sum(prod(shape) for shape in shapes.values()) == 23_885_392
    assert shapes["fc.weight"] == (1008, 2048) and shapes["Mixed_7c.branch_pool.bn.running_var"] == (192,)


def test_resizing_averages_what_gets_small_and_rounds_nothing():
    stripes = np.zeros((3, 8, 1196), np.uint8)
    stripes[..., ::2] = 255  # four points become one: no stripe is left, and none becomes another
    assert np.abs(clean_resize(stripes)[:, :, 5:-5] - 127.5).max() < 1
    assert np.all(clean_resize(np.full((3, 40, 50), 77, np.uint8)) == np.float32(77))
    ramp = np.arange(100, dtype=np.uint8)[None, None].repeat(3, 0).repeat(9, 1)
    assert len(np.unique(clean_resize(ramp)[0, 0])) > 200


def test_equal_files_are_nowhere_apart_and_noise_goes_further(net, pictures, monkeypatch):
    frames = pictures(3, 64)
    noise = np.random.RandomState(2).randint(-40, 41, frames.shape)
    clean, noisy = (extract_features(net, (frames + k * noise).clip(0, 255).astype(np.uint8)) for k in (0, 1))
    monkeypatch.setattr("emo.metrics.networks.inception.BATCH", 2)
    assert np.abs(extract_features(net, frames) - clean).max() < 1e-5
    clean, noisy = clean[:, ::32], noisy[:, ::32]
    assert feature_distance(clean, clean) < 1e-9 * np.square(clean).sum() < feature_distance(clean, noisy)


def test_a_missing_file_is_an_error_that_says_where_it_comes_from(tmp_path):
    with pytest.raises(
        InputError, match="absent.pth can't be loaded as FID's Inception .*No such file.*get pt_incepti"
    ):
        load_inception(tmp_path / "absent.pth")
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, tmp_path / "half.pth")
    with pytest.raises(InputError, match="Missing key.*mseitzer/pytorch-fid"):
        load_inception(tmp_path / "half.pth")
