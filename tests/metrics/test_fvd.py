"""The networks of FVD and of its content-debiased variant give the results of the published code."""

from math import prod

import numpy as np
import pytest
import torch

from emo.metrics.networks import i3d, videomae

# Said by content-debiased-fvd@6a7c8f0 of the made-up weights and so many pictures
SAID_I3D = [0.006844, -0.254340, 0.203919, 0.108424, -0.053133, -0.423096, -0.240470, -0.131519]
SAID_VIDEOMAE = [-0.042551, -0.409627, 0.723264, 1.439580, 0.424878, 0.272549, -0.438578, -0.941855]
BLOCK = {
    **{f"norm{k}.{leaf}": (32,) for k in (1, 2) for leaf in ("weight", "bias")},
    **{"attn.q_bias": (32,), "attn.v_bias": (32,), "attn.qkv.weight": (96, 32)},
    **{"attn.proj.weight": (32, 32), "attn.proj.bias": (32,)},
    **{"mlp.fc1.weight": (96, 32), "mlp.fc1.bias": (96,), "mlp.fc2.weight": (32, 96), "mlp.fc2.bias": (32,)},
}
PUBLISHED = {
    **{f"blocks.{k}.{name}": shape for k in (0, 1) for name, shape in BLOCK.items()},
    **{"fc_norm.weight": (32,), "fc_norm.bias": (32,), "head.weight": (5, 32), "head.bias": (5,)},
    **{"patch_embed.proj.weight": (32, 3, 2, 14, 14), "patch_embed.proj.bias": (32,)},
}


@pytest.fixture(scope="module")
def net(made_up, tmp_path_factory) -> i3d.I3D:
    path = tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt"
    torch.save(made_up(i3d.I3D()), path)
    return i3d.load_i3d(path)


def test_i3d_says_what_the_published_code_says(net, shapes_of, pictures):
    shapes = shapes_of(net)
    assert len(shapes) == 287 and sum(prod(shape) for shape in shapes.values()) == 12_711_824
    found = i3d.extract_features(net, pictures(13, 96), 10)  # three are left over
    assert found.shape == (1, 400)
    assert found[0, ::50] == pytest.approx(SAID_I3D, abs=2e-5)


def test_a_video_is_cut_into_clips(pictures):
    frames = pictures(9, 16)
    clips = i3d.split_clips(frames, 4, 16)
    assert clips.shape == (2, 3, 4, 16, 16)
    assert np.array_equal((clips * 255).round().numpy()[1, :, 3], frames[7])
    assert i3d.split_clips(frames, 10, 16).shape == (0, 3, 10, 16, 16)


def test_videomae_says_what_the_published_code_says(weights, pictures):
    sizes = dict(hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, image_size=28)
    net = videomae.make_videomae(5, **sizes).eval()
    net.load_state_dict(videomae.to_transformers_names({"module": weights(PUBLISHED)}))
    found = videomae.extract_features(net, pictures(21, 56)[:16])
    assert found.shape == (1, 32)
    assert found[0, ::4] == pytest.approx(SAID_VIDEOMAE, abs=2e-5)


def test_the_published_videomae_has_a_place_for_every_weight():
    with torch.device("meta"):
        nets = [videomae.make_videomae(num_hidden_layers=count, image_size=28) for count in (1, 2)]
    one, two = (sum(value.numel() for value in net.parameters()) for net in nets)
    assert one + 39 * (two - one) == 1_011_855_918
