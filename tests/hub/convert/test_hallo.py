"""A HalloModel with renamed weights predicts what Hallo predicts; its networks are written out here on its own names.

What the original code says on small networks is compared by test_golden.py.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emo.core.errors import InputError
from emo.hub.convert.hallo import infer_config, rename_keys, reshape_weight
from emo.models.conditions import Conditions
from emo.models.hallo import HalloModel
from emo.models.layers import AudioRegions
from emo.pipelines.hallo import HalloGuidance

FRAMES, MOTION, HEADS, GROUPS, TIME_GROUPS = 4, 2, 2, 4, 8
DIMS = (8, 8, 16)
SIZES = {"dims": DIMS, "depth": 1, "token_dim": 6, "audio_dim": 10, "audio_tokens": 3, "hidden": 7, "feature_dim": 5}


@pytest.fixture(scope="module")
def weights(layout) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(0)
    made = {
        name: 0.3 * torch.randn(shape, generator=chance) for name, shape in layout(**SIZES, locator=(4, 6, 8)).items()
    }
    for name, weight in made.items():
        if name.endswith("pos_encoder.pe"):
            weight.copy_(made[name.replace("blocks.1.pos", "blocks.0.pos")])
        elif "norm" in name and name.endswith("weight"):
            weight.add_(1)
    return made


def converted(weights: dict[str, Tensor], trained: bool) -> HalloModel:
    settings = infer_config({name: weight.shape for name, weight in weights.items()}, trained)
    settings |= {"num_attention_heads": HEADS, "norm_num_groups": GROUPS, "temporal_norm_groups": TIME_GROUPS}
    model = HalloModel(**settings | {"num_frames": FRAMES}).eval()
    model.load_state_dict(
        {our: reshape_weight(our, weights[their]) for their, our in rename_keys(list(weights), trained).items()}
    )
    return model


class Plain:
    """Hallo's networks as functions of one clip: frames N, tokens L, widths C; no modules."""

    def __init__(self, weights: dict[str, Tensor], trained: bool):
        self.w, self.trained = weights, trained

    def dense(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def group_norm(self, name: str, x: Tensor, eps: float, groups: int = GROUPS) -> Tensor:
        return F.group_norm(x, groups, self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def attend(self, name: str, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            self.dense(f"{name}.to_{part}", of).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part, of in [("q", x), ("k", context), ("v", context)]
        )
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.dense(f"{name}.to_out.0", (shares @ v).transpose(1, 2).flatten(-2))

    def feed(self, name: str, x: Tensor) -> Tensor:
        value, gate = self.dense(f"{name}.net.0.proj", x).chunk(2, -1)
        return self.dense(f"{name}.net.2", value * F.gelu(gate))

    def resnet(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        y = self.conv(f"{name}.conv1", F.silu(self.group_norm(f"{name}.norm1", x, 1e-5)))
        y = y + self.dense(f"{name}.time_emb_proj", F.silu(emb))[:, :, None, None]
        y = self.conv(f"{name}.conv2", F.silu(self.group_norm(f"{name}.norm2", y, 1e-5)))
        return y + (self.conv(f"{name}.conv_shortcut", x) if f"{name}.conv_shortcut.bias" in self.w else x)

    def spatial(self, name: str, x: Tensor, identity: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """identity (N I D), reference (N L C) -> (N C H W), and the normed tokens (N L C)."""
        block = f"{name}.transformer_blocks.0"
        y = self.conv(f"{name}.proj_in", self.group_norm(f"{name}.norm", x, 1e-6)).flatten(2).transpose(1, 2)
        tokens = self.layer_norm(f"{block}.norm1", y)
        y = y + self.attend(
            f"{block}.attn1", tokens, tokens if reference is None else torch.cat([tokens, reference], 1)
        )
        y = y + self.attend(f"{block}.attn2", self.layer_norm(f"{block}.norm2", y), identity)
        y = y + self.feed(f"{block}.ff", self.layer_norm(f"{block}.norm3", y))
        return x + self.conv(f"{name}.proj_out", y.transpose(1, 2).unflatten(2, x.shape[2:])), tokens

    def heard(self, name: str, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """audio (N A D), masks (3 L), scales (3,)."""
        block = f"{name}.transformer_blocks.0"
        y = self.conv(f"{name}.proj_in", self.group_norm(f"{name}.norm", x, 1e-6)).flatten(2).transpose(1, 2)
        tokens = self.layer_norm(f"{block}.norm1", y)
        y = y + self.attend(f"{block}.attn1", tokens, tokens)
        tokens, added = self.layer_norm(f"{block}.norm2", y), 0
        for k, region in enumerate(["full", "face", "lip"]):
            part = self.attend(f"{block}.attn2_{k}", tokens, audio) * masks[k][:, None]
            part = self.conv(f"{block}.zero_conv_{region}", part.transpose(1, 2).unflatten(2, x.shape[2:]))
            added = added + scales[k] * part.flatten(2).transpose(1, 2)
        y = y + added
        y = y + self.feed(f"{block}.ff", self.layer_norm(f"{block}.norm3", y))
        return x + self.conv(f"{name}.proj_out", y.transpose(1, 2).unflatten(2, x.shape[2:]))

    def moved(self, name: str, x: Tensor, motion: Tensor | None) -> Tensor:
        """motion (M C H W)."""
        name, frames = f"{name}.temporal_transformer", x if motion is None else torch.cat([motion, x])
        block = f"{name}.transformer_blocks.0"
        y = self.group_norm(f"{name}.norm", frames, 1e-6, TIME_GROUPS).flatten(2).permute(2, 0, 1)  # (L T C)
        y = self.dense(f"{name}.proj_in", y)
        for i in (0, 1):
            table = self.w[f"{block}.attention_blocks.{i}.pos_encoder.pe"][:, : len(frames)]
            tokens = self.layer_norm(f"{block}.norms.{i}", y) + table
            y = y + self.attend(f"{block}.attention_blocks.{i}", tokens, tokens)
        y = y + self.feed(f"{block}.ff", self.layer_norm(f"{block}.ff_norm", y))
        y = self.dense(f"{name}.proj_out", y).permute(1, 2, 0).unflatten(2, x.shape[2:])
        return x + y[len(frames) - len(x) :]

    def net(self, name: str, x: Tensor, step: int, identity: Tensor, seen: list, sound: tuple = ()) -> tuple:
        """x (N 4 H W), identity (N I D): the reference net, whose tokens of each layer are returned. With a sound
        (audio tokens, masks of each level, scales, located), and what each layer saw, the denoising one."""
        angles = step * torch.exp(-torch.arange(DIMS[0] // 2) / (DIMS[0] // 2) * torch.log(torch.tensor(10000.0)))
        emb = self.dense(f"{name}.time_embedding.linear_1", torch.cat([angles.cos(), angles.sin()])[None])
        emb = self.dense(f"{name}.time_embedding.linear_2", F.silu(emb)).expand(len(x), -1)
        located = sound[3] if sound else 0
        left, last = list(seen), len(DIMS) - 1

        def layer(stage: str, i: int, x: Tensor, level: int, attends: bool) -> Tensor:
            x, reference, motion = self.resnet(f"{stage}.resnets.{i}", x, emb), None, None
            if attends:
                if sound:
                    reference, motion = left.pop(0)
                    motion = motion.transpose(1, 2).unflatten(2, x.shape[2:])
                x, tokens = self.spatial(f"{stage}.attentions.{i}", x, identity, reference)
                if not sound:
                    seen.append(tokens)
            if attends and sound:
                masks, scales = sound[1][level], sound[2] if self.trained or level == last else torch.ones(3)
                x = self.heard(f"{stage}.audio_modules.{i}", x, sound[0], masks, scales)
            if sound and (attends or not self.trained):
                motion = motion if self.trained or level == last else None
                x = self.moved(f"{stage}.motion_modules.{i}", x, motion)
            return x

        skips = [x := self.conv(f"{name}.conv_in", x) + located]
        for level in range(len(DIMS)):
            skips.append(x := layer(f"{name}.down_blocks.{level}", 0, x, level, level < last))
            if level < last:
                skips.append(x := self.conv(f"{name}.down_blocks.{level}.downsamplers.0.conv", x, 2))
        x = layer(f"{name}.mid_block", 0, x, last, True)
        x = self.resnet(f"{name}.mid_block.resnets.1", x, emb)
        for level in reversed(range(len(DIMS))):
            stage = f"{name}.up_blocks.{last - level}"
            for i in range(2):
                x = layer(stage, i, torch.cat([x, skips.pop()], 1), level, level < last)
            if level:
                x = self.conv(f"{stage}.upsamplers.0.conv", F.interpolate(x, scale_factor=2))
        if not sound:
            return seen
        return self.conv(f"{name}.conv_out", F.silu(self.group_norm(f"{name}.conv_norm_out", x, 1e-5)))

    def audio_tokens(self, stacks: Tensor) -> Tensor:
        x = F.relu(self.dense("audioproj.proj1", stacks.flatten(1)))
        x = self.dense("audioproj.proj3", F.relu(self.dense("audioproj.proj2", x)))
        return self.layer_norm("audioproj.norm", x.unflatten(1, (SIZES["audio_tokens"], -1)))

    def identity_tokens(self, embedding: Tensor) -> Tensor:
        return self.layer_norm("imageproj.norm", self.dense("imageproj.proj", embedding).unflatten(1, (4, -1)))

    def located(self, region: Tensor) -> Tensor:
        x = F.silu(self.conv("face_locator.conv_in", region))
        for i in range(4):
            x = F.silu(self.conv(f"face_locator.blocks.{i}", x, 1 + i % 2))
        return self.conv("face_locator.conv_out", x)


@pytest.fixture(scope="module")
def given() -> dict:
    """One clip; latents of 8 x 8, a region of 32 x 32 pixels, masks and scales of three regions."""
    torch.manual_seed(1)
    return {
        "sample": torch.randn(FRAMES, 4, 8, 8),
        "images": torch.randn(1 + MOTION, 4, 8, 8),
        "stacks": torch.randn(FRAMES + 4, 12, 5).unfold(0, 5, 1).permute(0, 3, 1, 2),  # (N 5 12 5)
        "embedding": torch.randn(1, 512),
        "region": torch.rand(1, 1, 32, 32).round(),
        "masks": [torch.rand(3, size, size) for size in (8, 4, 2)],
        "scales": torch.tensor([1.0, 0.8, 1.2]),
    }


def conditions(given: dict, trained: bool) -> Conditions:
    scales = torch.ones(1, 3, 3)
    scales[:, slice(None) if trained else -1] = given["scales"]
    stacks = given["stacks"]
    return Conditions(
        reference=given["images"][:1],
        audio=torch.cat([stacks[0], stacks[1:, -1]])[None],  # (1 N+4 12 5)
        motion=given["images"][None, 1:],
        face_region=given["region"],
        identity=given["embedding"],
        audio_regions=AudioRegions([mask[None] for mask in given["masks"]], scales),
    )


def plain_prediction(plain: Plain, given: dict, blank: bool = False, guided: bool = False) -> Tensor:
    """What Hallo says at step 400; guided, as its two halves do, each image told of the identities in turn."""
    nobody, own = plain.identity_tokens(0 * given["embedding"]), plain.identity_tokens(given["embedding"])
    told = [nobody, own] if guided else [own, own]
    turns = [torch.cat([told[(first + i) % 2] for i in range(1 + MOTION)]) for first in (0, 1 + MOTION)]
    halves = [plain.net("reference_unet", given["images"], 0, turn, []) for turn in turns]
    audio, masks = plain.audio_tokens(given["stacks"]), [mask.flatten(1) for mask in given["masks"]]
    located = plain.located(given["region"].expand(-1, 3, -1, -1))
    sound = (audio * (not blank), masks, given["scales"], located * (not blank))
    identity = (nobody if blank else own).expand(FRAMES, -1, -1)
    seen = []  # of each layer: the portrait for each frame (N L C), and the motion frames (M L C)
    for pair in zip(*halves, strict=True):
        portraits = None if blank else torch.stack([pair[f % 2][0] for f in range(FRAMES)])
        seen.append((portraits, pair[not blank][1:]))
    return plain.net("denoising_unet", given["sample"], 400, identity, seen, sound)


@torch.no_grad()
@pytest.mark.parametrize("trained", [True, False])
def test_a_converted_network_predicts_what_hallo_predicts(weights, given, trained):
    model = converted(weights, trained)
    expected = plain_prediction(Plain(weights, trained), given)
    made = model(given["sample"][None], torch.tensor(400), conditions(given, trained))[0]
    assert expected.std() > 0.1 and (made - expected).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("trained", [True, False])
def test_guided_predictions_equal_those_of_hallo(weights, given, trained):
    model, plain, clip = converted(weights, trained), Plain(weights, trained), conditions(given, trained)
    sample, guidance = given["sample"][None], HalloGuidance(3.5)
    made = guidance.predict(
        model, sample, torch.tensor(400), clip, guidance.encode_conditions(model, clip, sample.shape)
    )[0]
    heard, blank = (plain_prediction(plain, given, blank, guided=True) for blank in (False, True))
    assert (made - blank - 3.5 * (heard - blank)).abs().max() < 5e-4
    assert (made - heard).abs().max() > 0.1


@torch.no_grad()
def test_the_projections_equal_those_of_hallo(weights, given):
    model, plain, clip = converted(weights, True), Plain(weights, True), conditions(given, True)
    assert torch.allclose(model.audio_projection(clip.audio)[0], plain.audio_tokens(given["stacks"]), atol=1e-5)
    assert torch.allclose(model.encode_identity(clip.identity), plain.identity_tokens(given["embedding"]), atol=1e-5)
    pixels = given["region"].expand(-1, 3, -1, -1)
    assert torch.allclose(model.face_locator(clip.face_region), plain.located(pixels), atol=1e-5)


@torch.no_grad()
def test_left_out_conditions_equal_null_conditions(weights, given):
    model, clip = converted(weights, True), conditions(given, True)
    sample, step, shape = given["sample"][None], torch.tensor(9), clip.reference.shape[-2:]
    ones = [torch.ones(1, 3, *mask.shape[-2:]) for mask in given["masks"]]
    nulls = {
        "identity": torch.zeros(1, 512),
        "motion": clip.reference[:, None].expand(-1, MOTION, -1, *shape),
        "face_region": torch.ones_like(clip.face_region),
        "audio_regions": AudioRegions(ones, torch.ones(1, 3, 3)),
    }
    whole = model(sample, step, clip)
    for name, null in nulls.items():
        without = model(sample, step, Conditions(**vars(clip) | {name: None}))
        assert torch.allclose(without, model(sample, step, Conditions(**vars(clip) | {name: null})), atol=1e-5), name
        assert (without - whole).abs().max() > 1e-3, name


def test_weights_that_are_not_hallo_are_reported(weights):
    with pytest.raises(InputError, match="not a net.pth of Hallo or Hallo2: it lacks 'audioproj.proj1.weight'"):
        infer_config({name: weight.shape for name, weight in weights.items() if not name.startswith("audioproj")})


SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4, "num_attention_heads": 2}


def test_audio_and_identity_can_not_share_a_layer():
    with pytest.raises(ValueError, match="identity_dim=768: with audio it needs audio_regions"):
        HalloModel(**SMALL, identity_dim=5, audio_regions=0)


def test_options_that_need_another_raise_an_error():
    with pytest.raises(ValueError, match="needs motion_tokens"):
        HalloModel(**SMALL, motion_tokens=False, motion_levels=[1])


def test_every_parameter_gets_a_gradient(weights, given):
    model = converted(weights, True)
    model(given["sample"][None], torch.tensor(9), conditions(given, True)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
