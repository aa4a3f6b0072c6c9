"""Motion components: linear, limited to the directions of footage, weak directions stronger beside strong ones."""

import pytest
import torch

from emo.models.motion_components import COMPRESSION, LARGEST, MotionComponents


@pytest.fixture
def footage():
    """Latents (200 4 2 2) that move in three directions of 16, the strongest 100 times as much as the weakest."""
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 3))[0].T
    return (torch.randn(200, 3) * torch.tensor([10.0, 1.0, 0.1]) @ directions).view(200, 4, 2, 2)


def test_scaling_is_undone_and_nothing_outside_remains(footage):
    components = MotionComponents.fit(footage, 8)
    assert len(components.gains) == 3  # there are no more directions
    scaled = components.scale(footage)
    torch.testing.assert_close(components.unscale(scaled), footage, atol=1e-4, rtol=1e-4)
    noise = torch.randn_like(scaled)
    outside = noise - (noise.flatten(1) @ components.basis.T @ components.basis).view_as(noise)
    torch.testing.assert_close(components.unscale(scaled + outside), footage, atol=1e-4, rtol=1e-4)


def test_weak_directions_come_near_to_strong_ones(footage):
    components = MotionComponents.fit(footage, 3)
    deviations = (components.scale(footage).flatten(1) @ components.basis.T).square().mean(0).sqrt()
    before = (footage.flatten(1) @ components.basis.T).square().mean(0).sqrt()
    assert deviations[0].item() == pytest.approx(LARGEST, rel=1e-3)
    torch.testing.assert_close(deviations / deviations[0], (before / before[0]) ** COMPRESSION, rtol=1e-3, atol=0)


def test_too_large_motion_is_scaled_down(footage):
    components = MotionComponents.fit(footage, 3)
    scaled = components.scale(footage[:50])
    deviations = LARGEST * components.gains[0] / components.gains
    sizes = (scaled.flatten(1) @ components.basis.T / deviations).square().mean(1).sqrt()
    limit = sizes.median().item()
    limited = components.restrain(scaled, limit)
    factors = (limit / sizes).clamp(max=1)
    assert 0 < (factors < 0.9).sum() < 50
    torch.testing.assert_close(limited, scaled * factors[:, None, None, None], rtol=1e-3, atol=1e-4)
