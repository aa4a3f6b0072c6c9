"""Motion components: linear, limited to the directions of footage, weak directions stronger beside strong ones."""

import pytest
import torch

from emo.models.motion_components import COMPRESSION, LARGEST, ComponentModulation, MotionComponents

EVEN = torch.ones(4, 4)  # weights of the cells of a motion field


@pytest.fixture
def motion():
    """(16 32): orthonormal fields of 4 x 4 cells that 16 latents cause."""
    torch.manual_seed(1)
    return torch.linalg.qr(torch.randn(32, 16))[0].T.contiguous()


@pytest.fixture
def footage():
    """Latents (200 4 2 2) that move in three directions of 16, the strongest 100 times as much as the weakest."""
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 3))[0].T
    return (torch.randn(200, 3) * torch.tensor([10.0, 1.0, 0.1]) @ directions).view(200, 4, 2, 2)


def test_scaling_is_undone_and_nothing_outside_remains(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 8)
    assert len(components.gains) == 3  # there are no more directions
    scaled = components.scale(footage)
    torch.testing.assert_close(components.unscale(scaled), footage, atol=1e-3, rtol=5e-3)  # least squares has a ridge
    noise = torch.randn_like(scaled)
    outside = noise - components.limit(noise)
    torch.testing.assert_close(components.unscale(scaled + outside), components.unscale(scaled), atol=1e-4, rtol=1e-4)


def test_latents_of_the_same_motion_are_scaled_alike(footage, motion):
    motion[15] = motion[14]  # two latents that cause the same motion
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    other = footage.clone().flatten(1)
    other[:, 14], other[:, 15] = other[:, 15], other[:, 14].clone()
    torch.testing.assert_close(components.scale(other.view_as(footage)), components.scale(footage))


def test_cells_of_more_weight_decide_what_is_kept():
    """One cell moves a third as much as all others together: it is kept where it weighs 15 times as much."""
    one = torch.zeros(4, 4)
    one[1, 2] = 1.0
    fields = torch.stack([1 - one, one * 5 / 3]).flatten(1).repeat(1, 2)
    coordinates = torch.randn(200, 2)
    latents = (coordinates @ fields).view(200, 32, 1, 1)
    for weights, kept in ((EVEN, 0), (1 + 14 * one, 1)):
        components = MotionComponents.fit(latents, torch.eye(32), weights, 1)
        result = components.unscale(components.scale(latents)).flatten(1)
        shares = result @ fields.T / fields.square().sum(1)
        error = (shares - coordinates).square().mean(0).sqrt()
        assert error[kept] < 0.1 and error[1 - kept] > 0.5


def test_weak_directions_come_near_to_strong_ones(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    deviations = (components.scale(footage).flatten(1) @ components.basis.T).square().mean(0).sqrt()
    before = (footage.flatten(1) @ components.reading.T).square().mean(0).sqrt()
    assert deviations[0].item() == pytest.approx(LARGEST, rel=1e-3)
    torch.testing.assert_close(deviations / deviations[0], (before / before[0]) ** COMPRESSION, rtol=1e-3, atol=0)


def test_too_large_motion_is_scaled_down(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    scaled = components.scale(footage[:50])
    coordinates = components.scale(footage).flatten(1) @ components.basis.T
    deviations = coordinates.square().mean(0).sqrt()
    sizes = (scaled.flatten(1) @ components.basis.T / deviations).square().mean(1).sqrt()
    limit = sizes.median().item()
    limited = components.restrain(scaled, limit)
    factors = (limit / sizes).clamp(max=1)
    assert 0 < (factors < 0.9).sum() < 50
    torch.testing.assert_close(limited, scaled * factors[:, None, None, None], rtol=1e-3, atol=1e-4)


def test_modulation_goes_on_from_the_motion_frames(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    modulation, emb = ComponentModulation(8, 3, 5).eval(), torch.randn(2 * 5, 8)
    noisy, before = torch.randn(2, 5, 4, 2, 2), components.scale(footage[:4]).view(2, 2, 4, 2, 2)
    assert modulation(noisy, emb, before, components).count_nonzero() == 0  # a new one
    torch.nn.init.normal_(modulation.out.weight)
    added = modulation(noisy, emb, before, components)
    torch.testing.assert_close(components.limit(added), added, atol=1e-4, rtol=1e-4)
    earlier = torch.cat([torch.randn_like(before[:, :1]), before[:, 1:]], dim=1)
    torch.testing.assert_close(modulation(noisy, emb, earlier, components), added)  # only the last one counts
    without = modulation(noisy, emb, None, components)
    torch.testing.assert_close(modulation(noisy, emb, torch.zeros_like(before), components), without)
    assert (added - without).abs().max() > 0.1
    swapped = modulation(noisy.flip(0), emb.view(2, 5, 8).flip(0).flatten(0, 1), before.flip(0), components)
    torch.testing.assert_close(swapped.flip(0), added, atol=1e-4, rtol=1e-4)  # clips are apart


def test_the_head_is_smoothed_over_time_and_its_parts_are_not(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    scaled = components.scale(footage)
    clip = scaled[:8].view(1, 8, 4, 2, 2)
    torch.testing.assert_close(components.smooth(clip, scaled[9][None], 1.0), clip, atol=1e-4, rtol=1e-4)
    before = scaled[9]
    for frame, smoothed in zip(clip[0], components.smooth(clip, scaled[9][None], 0.25)[0], strict=True):
        before = before + 0.25 * (frame - before)
        torch.testing.assert_close(smoothed, before, atol=1e-4, rtol=1e-4)
    halves = components.smooth(clip[:, :4], None, 0.25)
    halves = torch.cat([halves, components.smooth(clip[:, 4:], halves[:, -1], 0.25)], dim=1)  # window after window
    torch.testing.assert_close(components.smooth(clip, None, 0.25), halves, atol=1e-4, rtol=1e-4)
    components.parts[1, 1] = 1.0  # the second component is a part's motion
    kept = (components.smooth(clip, None, 0.25) - clip).flatten(2) @ components.basis.T
    assert kept[..., 1].abs().max() < 1e-4 and kept[..., [0, 2]].abs().amax((0, 1)).min() > 0.1


def test_guidance_by_sound_leaves_the_eyes_alone(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    components.eyes[2, 2] = 1.0  # the third component is the eyes' motion
    update = components.scale(footage[:5])[:, None]
    before, after = (x.flatten(2) @ components.basis.T for x in (update, components.without_eyes(update)))
    assert after[..., 2].abs().max() < 1e-4 < before[..., 2].abs().min()
    torch.testing.assert_close(after[..., :2], before[..., :2], atol=1e-4, rtol=1e-4)


def test_lips_can_be_those_of_other_latents(footage, motion):
    components = MotionComponents.fit(footage, motion, EVEN, 3)
    components.parts[1, 1] = components.parts[2, 2] = components.eyes[2, 2] = 1.0  # the second component is the lips'
    one, other = components.scale(footage[:4]), components.scale(footage[4:8])
    mixed, one, other = (x.flatten(1) @ components.basis.T for x in (components.replace_lips(one, other), one, other))
    torch.testing.assert_close(mixed[:, 1], other[:, 1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixed[:, [0, 2]], one[:, [0, 2]], atol=1e-4, rtol=1e-4)
