"""Move pictures by dense motion fields, sample them in windows, and put windows back.

A motion field is backward (FOMM, Siarohin et al. 2019, arXiv 2003.00196): the cell of a frame at p shows what the
portrait has at p + flow(p). Positions and displacements are in sides of the square, x before y, in float32.

Shapes: N frames, K channels, R pixels along a side, M cells of the motion field along a side, h w pixels of a window.
"""

import torch
from torch import Tensor
from torch.nn import functional

MAX_STRETCH = 3.0  # limit of the determinant of a warp's Jacobian


def cell_positions(height: int, width: int, device: torch.device) -> Tensor:
    """Compute the centers of the cells of the unit square.

    Args:
        height: Number of rows.
        width: Number of columns.
        device: Device of the result.

    Returns:
        (height width 2) float32.
    """
    y, x = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def window_positions(centers: Tensor, extent: tuple[float, float], pixels: tuple[int, int]) -> Tensor:
    """Compute the positions of the pixels of windows.

    Args:
        centers: (N 2) of the windows.
        extent: Height and width, in sides.
        pixels: h and w.

    Returns:
        (N h w 2).
    """
    local = cell_positions(*pixels, centers.device) - 0.5
    return centers[:, None, None] + local * centers.new_tensor([extent[1], extent[0]])


def sample(values: Tensor, places: Tensor) -> Tensor:
    """Sample values bilinearly; beyond the border they are repeated.

    Args:
        values: (N K H W).
        places: (N h w 2) in the unit square.

    Returns:
        (N K h w).
    """
    return functional.grid_sample(values, places * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)


def smooth(flow: Tensor) -> Tensor:
    """Smooth a motion field (N 2 M M) with a 5 x 5 binomial kernel, in its own precision also under autocast."""
    cells, weights = flow.shape[-1], (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
    padded = functional.pad(flow, (2, 2, 2, 2), mode="replicate")
    rows = torch.stack([weight * padded[:, :, k : k + cells] for k, weight in enumerate(weights)]).sum(0)
    return torch.stack([weight * rows[..., k : k + cells] for k, weight in enumerate(weights)]).sum(0)


def border_fade(cells: int, depth: float, device: torch.device) -> Tensor:
    """Compute a factor that fades motion to zero towards the border.

    Args:
        cells: M.
        depth: Distance from the border at which the factor reaches 1, in sides.
        device: Device of the result.

    Returns:
        (cells cells): exactly 0 in the two outermost cells, smooth between.
    """
    position = (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) / cells
    distance = torch.minimum(position, 1 - position) - 1.5 / cells
    ramp = (distance / depth).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return ramp[:, None] * ramp[None]


def edge_fade(pixels: tuple[int, int], device: torch.device) -> Tensor:
    """Compute a factor that fades a window towards its edge.

    Args:
        pixels: h and w.
        device: Device of the result.

    Returns:
        (h w): 0 at the edge, 1 from an eighth of the side on, smooth between.
    """
    outermost = torch.tensor([0.5 / pixels[1], 0.5 / pixels[0]], device=device)
    depth = (0.5 - (cell_positions(*pixels, device) - 0.5).abs() - outermost).amin(-1)
    ramp = (depth * 8).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Move images at their own resolution.

    Args:
        images: (N K R R) float32.
        flow: (N 2 M M).

    Returns:
        (N K R R).
    """
    side = images.shape[-1]
    flow = functional.interpolate(flow, scale_factor=2, mode="bicubic", align_corners=False)
    flow = flow.contiguous(memory_format=torch.channels_last)
    field = functional.interpolate(flow, (side, side), mode="bilinear", align_corners=False)
    places = (cell_positions(side, side, images.device) * 2 - 1) + field.permute(0, 2, 3, 1) * 2
    return functional.grid_sample(images, places, mode="bilinear", padding_mode="border", align_corners=False)


def follow(points: Tensor, flow: Tensor, iterations: int = 4) -> Tensor:
    """Find where points of the portrait lie in the frame: the fixed point of p = point - flow(p).

    Args:
        points: (N 2).
        flow: (N 2 M M).
        iterations: Iterations of the fixed point.

    Returns:
        (N 2).
    """
    moved = points
    for _ in range(iterations):
        moved = points - sample(flow, moved[:, None, None])[:, :, 0, 0]
    return moved


def stretch(flow: Tensor) -> Tensor:
    """Compute the determinant of a warp's Jacobian, limited to [-1, MAX_STRETCH].

    Args:
        flow: (N 2 M M).

    Returns:
        (N 1 M M): 1 where nothing is stretched, near 0 where lips come apart.
    """
    cells = flow.shape[-1]
    dx = functional.pad(flow[..., 2:] - flow[..., :-2], (1, 1, 0, 0), mode="replicate") * (cells / 2)
    dy = functional.pad(flow[..., 2:, :] - flow[..., :-2, :], (0, 0, 1, 1), mode="replicate") * (cells / 2)
    determinant = (1 + dx[:, :1]) * (1 + dy[:, 1:]) - dx[:, 1:] * dy[:, :1]
    return determinant.clamp(-1, MAX_STRETCH)


def blend_window(images: Tensor, window: Tensor, centers: Tensor, extent: tuple[float, float]) -> Tensor:
    """Blend windows into images: images * (1 - share) + values, computed under the windows alone.

    Args:
        images: (N K R R); they may be changed in place.
        window: (N K+1 h w), K values that are already multiplied by their share, then the share.
        centers: (N 2) of the windows.
        extent: height and width of the windows, in sides.

    Returns:
        (N K R R).
    """
    side, channels = images.shape[-1], images.shape[1]
    if extent == (1.0, 1.0):
        placed = functional.interpolate(window, (side, side), mode="bilinear", align_corners=False)
        return images * (1 - placed[:, channels:]) + placed[:, :channels]
    size = centers.new_tensor([extent[1], extent[0]])
    width, height = (min(side, int(length * side) + 2) for length in size.tolist())
    room = torch.tensor([side - width, side - height], device=centers.device)
    corners = ((centers.detach() - size / 2) * side).floor().long().clamp(min=0).minimum(room)  # (N 2)
    grid = cell_positions(height, width, centers.device) * centers.new_tensor([width, height])
    places = (corners[:, None, None] + grid) / side
    local = (places - centers[:, None, None]) / size * 2
    patches = functional.grid_sample(window, local, mode="bilinear", padding_mode="zeros", align_corners=False)
    # one tensor for each frame where gradients are kept: the backward pass of a change in place copies the whole tensor
    frames = [image.clone() for image in images] if images.requires_grad else images
    for frame, patch, (x, y) in zip(frames, patches, corners.tolist(), strict=True):
        place = slice(None), slice(y, y + height), slice(x, x + width)
        frame[place] = frame[place].clone() * (1 - patch[channels:]) + patch[:channels]
    return torch.stack(frames) if isinstance(frames, list) else frames


def resize(images: Tensor, side: int) -> Tensor:
    """Resize images; they are averaged where that shrinks them.

    Args:
        images: (N K R R).
        side: New side, pixels.

    Returns:
        (N K side side).
    """
    if images.shape[-1] == side:
        return images
    if images.shape[-1] > side:
        return functional.interpolate(images, (side, side), mode="area")
    return functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)
