"""The own motion of lips, lids and irises in an aligned face: differences of displacements of its points."""

import torch
from torch import Tensor

from emo.face.crop import RIGID_TEMPLATE
from emo.models.warping import sample

MOUTH_CENTER = (0.5, 0.68)  # the mean of 134 portraits' mouths, and a little lower, since mouths open downwards
NUM_LIP_MOTIONS = 2  # the first ones of `list_part_motions`
OPENING_WEIGHT, LID_WEIGHT, GAZE_WEIGHT = 4.0, 1.0, 0.5  # beside 1 of the mouth's width


def list_part_motions() -> list[tuple[float, int, list[tuple[float, float, float]]]]:
    """List the motions of parts: weight, axis (0: x), and points of the aligned square (x, y, share in the sum)."""
    x, y = MOUTH_CENTER
    motions = [
        (OPENING_WEIGHT, 1, [(x, y + 0.05, 1.0), (x, y - 0.035, -1.0)]),
        (1.0, 0, [(x + 0.09, y, 1.0), (x - 0.09, y, -1.0)]),
    ]
    for outer, inner in ((0, 1), (3, 2)):
        corners = [(*RIGID_TEMPLATE[k].tolist(), -0.5) for k in (outer, inner)]
        x, y = RIGID_TEMPLATE[[outer, inner]].mean(0).tolist()
        motions.append((LID_WEIGHT, 1, [(x, y - 0.02, 1.0), (x, y + 0.025, -1.0)]))
        motions += [(GAZE_WEIGHT, axis, [(x, y, 1.0), *corners]) for axis in (0, 1)]
    return motions


def measure_part_motions(fields: Tensor, deviations: Tensor) -> Tensor:
    """Measure the own motion of the parts in the motion fields of components.

    The motion of the head hardly changes it, since it takes differences of points.

    Args:
        fields: (K 2 M M) backward motion of a coordinate of 1.
        deviations: (K,) of the coordinates over footage.

    Returns:
        (K n): coordinates times this are the n motions, whose mean squares over footage are their weights.
    """
    signals = []
    for weight, axis, points in list_part_motions():
        places = torch.tensor([(x, y) for x, y, _ in points], device=fields.device)
        moved = sample(fields, places[None, None].expand(len(fields), -1, -1, -1))[:, axis, 0]  # (K points)
        signal = moved @ torch.tensor([share for _, _, share in points], device=fields.device)
        signals.append((weight / (deviations * signal).square().sum()).sqrt() * signal)
    return torch.stack(signals, dim=1)
