"""The UNet against diffusers: same names, same shapes, the same picture to the last bit."""

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from emo.models.layers import Attention
from emo.models.unet import UNet

SIZE = dict(block_out_channels=(8, 16, 16), layers_per_block=2, norm_num_groups=4)
OURS = dict(**SIZE, num_attention_heads=2, audio_dim=12)
THEIRS = dict(
    **SIZE,
    cross_attention_dim=12,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
)
MOTION = dict(
    **SIZE,
    cross_attention_dim=12,
    num_attention_heads=2,
    motion_num_attention_heads=2,
    use_motion_mid_block=True,
    down_block_types=("CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "DownBlockMotion"),
    up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion"),
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, where some start at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def same_weights(theirs: torch.nn.Module, ours: torch.nn.Module) -> None:
    ours.load_state_dict(fill(theirs).state_dict(), strict=True)
    ours.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (12, 20), (10, 14)])
def test_equals_the_image_unet_of_diffusers(size):
    theirs, ours = UNet2DConditionModel(**THEIRS, attention_head_dim=2), UNet(**OURS, max_frames=None)
    same_weights(theirs, ours)
    sample, tokens, timestep = torch.randn(3, 4, *size), torch.randn(3, 7, 12), torch.tensor([3, 500, 999])
    expected = theirs(sample, timestep, tokens).sample
    prediction, features = ours(sample[:, None], timestep, tokens[:, None])
    assert (prediction[:, 0] - expected).abs().max() == 0.0
    assert features == []


@torch.no_grad()
def test_equals_the_motion_unet_of_diffusers():
    theirs, ours = UNetMotionModel(**MOTION, motion_max_seq_length=8), UNet(**OURS, max_frames=8)
    same_weights(theirs, ours)
    sample, tokens, timestep = torch.randn(2, 5, 4, 16, 16), torch.randn(2, 7, 12), torch.tensor([3, 500])
    expected = theirs(sample.transpose(1, 2), timestep, tokens.repeat_interleave(5, 0)).sample.transpose(1, 2)
    prediction, _ = ours(sample, timestep, tokens[:, None].expand(-1, 5, -1, -1))
    assert (prediction - expected).abs().max() == 0.0


def test_full_size_names_and_shapes_are_sd_and_animatediff():
    sd = dict(
        cross_attention_dim=768,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    with torch.device("meta"):
        image, motion = UNet2DConditionModel(**sd), MotionAdapter(use_motion_mid_block=True)
        ours, still, reference = (
            UNet(),
            UNet(max_frames=None),
            UNet(audio_dim=None, max_frames=None, out_channels=None),
        )
    shapes = {name: tensor.shape for name, tensor in image.state_dict().items()}
    assert len(shapes) == 686
    assert {name: tensor.shape for name, tensor in still.state_dict().items()} == shapes
    own = {name: tensor.shape for name, tensor in reference.state_dict().items()}
    assert all(shapes[name] == shape for name, shape in own.items())
    assert len(motion.state_dict()) == 567
    shapes |= {name: tensor.shape for name, tensor in motion.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


@torch.no_grad()
def test_reference_projected_once_equals_reference_repeated():
    attention = Attention(16, 2)
    x, reference = torch.randn(6, 10, 16), torch.randn(2, 5, 16)
    context = torch.cat([x, reference.repeat_interleave(3, dim=0)], dim=1)
    assert torch.allclose(attention(x, x, reference), attention(x, context), atol=1e-6)


@torch.no_grad()
def test_a_clip_in_a_batch_equals_the_clip_alone():
    unet = fill(UNet(**OURS, max_frames=8, frame_token_dim=6))
    look = fill(UNet(**SIZE, num_attention_heads=2, audio_dim=None, max_frames=None, out_channels=None))
    sample, timestep = torch.randn(2, 3, 4, 8, 8), torch.tensor([7, 600])
    audio, speed, face_features = torch.randn(2, 3, 5, 12), torch.randn(2, 3, 6), torch.randn(2, 8, 8, 8)
    reference = [f.tokens for f in look(torch.randn(2, 1, 4, 8, 8), torch.tensor(0))[1]]
    motion = [f.map.unflatten(0, (2, 2)) for f in look(torch.randn(2, 2, 4, 8, 8), torch.tensor(0))[1]]
    full, _ = unet(sample, timestep, audio, reference, motion, speed, face_features)
    for i in range(2):
        part = slice(i, i + 1)
        alone, _ = unet(
            sample[part],
            timestep[part],
            audio[part],
            [None if r is None else r[part] for r in reference],
            [m[part] for m in motion],
            speed[part],
            face_features[part],
        )
        assert torch.allclose(alone, full[part], atol=1e-5)


@torch.no_grad()
def test_new_branches_change_nothing():
    unet = UNet(**OURS, max_frames=None)
    stages = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    x, emb, audio = torch.randn(2, 16, 4, 4), torch.randn(2, 32), torch.randn(2, 3, 12)
    same = [
        (stage, i) for stage in stages for i, r in enumerate(stage.resnets) if r.in_channels == r.out_channels == 16
    ]
    assert len(same) >= 4
    for stage, i in same:
        assert torch.equal(stage.layer(i, x, emb, audio, None, None, None, 2)[0], x)
    assert unet(torch.randn(1, 2, 4, 8, 8), torch.tensor(9), audio[None])[0].abs().max() == 0


@torch.no_grad()
def test_new_speed_layers_change_nothing_and_trained_ones_distinguish_frames():
    unet = fill(UNet(**OURS, max_frames=8, frame_token_dim=6).eval())
    plain = UNet(**OURS, max_frames=8).eval()
    plain.load_state_dict({k: v for k, v in unet.state_dict().items() if "speed" not in k})
    fresh = UNet(**OURS, max_frames=8, frame_token_dim=6).eval()
    fresh.load_state_dict(plain.state_dict(), strict=False)
    sample, timestep, audio = torch.randn(1, 4, 4, 8, 8), torch.tensor(9), torch.randn(1, 4, 5, 12)
    speed = torch.randn(1, 4, 6)
    without, _ = plain(sample, timestep, audio)
    assert without.std() > 0 and torch.equal(fresh(sample, timestep, audio, frame_tokens=speed)[0], without)
    flipped = unet(sample, timestep, audio, frame_tokens=speed.flip(1))[0]
    assert not torch.allclose(unet(sample, timestep, audio, frame_tokens=speed)[0], flipped, atol=1e-6)


@torch.no_grad()
def test_speed_tokens_carry_the_positions_of_their_frames():
    unet, given = fill(UNet(**OURS, max_frames=8, frame_token_dim=6)), []
    layer = unet.mid_block.motion_modules[0].transformer_blocks[0]
    layer.attn_speed.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]))
    motion = [torch.zeros(1, 2, 1, 1, 1)] * 17
    unet(torch.randn(1, 4, 4, 8, 8), torch.tensor(9), motion=motion, frame_tokens=torch.zeros(1, 4, 6))
    table = MotionAdapter(block_out_channels=(6,), motion_num_attention_heads=1, motion_norm_num_groups=1)
    blocks = table.down_blocks[0].motion_modules[0].transformer_blocks
    assert torch.equal(given[0], blocks[0].pos_embed.pe[:, 2:6])  # behind two motion frames


def test_gradient_checkpointing_gives_the_same_gradients():
    unet = fill(UNet(**OURS, max_frames=8, frame_token_dim=6)).train()
    inputs = torch.randn(1, 3, 4, 8, 8), torch.tensor([7]), torch.randn(1, 3, 5, 12)
    gradients = []
    for on in (False, True):
        unet.enable_gradient_checkpointing() if on else unet.disable_gradient_checkpointing()
        unet.zero_grad()
        unet(*inputs, frame_tokens=torch.ones(1, 3, 6))[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in unet.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@torch.no_grad()
def test_patches_join_latent_pixels():
    sizes = dict(in_channels=6, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
    net = fill(UNet(**sizes, num_attention_heads=2, audio_dim=None, max_frames=8, patch_size=2))
    sample, face = torch.randn(2, 3, 6, 8, 8), torch.randn(2, 8, 8, 8)
    output, _ = net(sample, torch.tensor(5), face_features=face)
    assert output.shape == (2, 3, 4, 8, 8)
    joined_sizes = sizes | {"in_channels": 24, "out_channels": 16}
    patches = UNet(**joined_sizes, num_attention_heads=2, audio_dim=None, max_frames=8)
    patches.load_state_dict(net.state_dict())
    joined = torch.nn.functional.pixel_unshuffle(sample.flatten(0, 1), 2).unflatten(0, (2, 3))
    small = torch.nn.functional.avg_pool2d(face, 2)
    expected, _ = patches.eval()(joined, torch.tensor(5), face_features=small)
    assert torch.equal(torch.nn.functional.pixel_unshuffle(output.flatten(0, 1), 2), expected.flatten(0, 1))
