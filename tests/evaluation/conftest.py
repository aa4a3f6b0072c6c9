"""Made-up weights and pictures, the same with every torch: what published code said of them is stored in the tests."""

import numpy as np
import pytest
import torch


def weights_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A state dict of networks with norms, in which activations keep their size."""
    rng, state = np.random.RandomState(0), {}
    for name, shape in sorted(shapes.items()):
        new = rng.standard_normal(shape)
        if name.endswith("running_var"):
            new = 1 + np.abs(new)
        elif len(shape) < 2:
            new = 0.1 * new + name.endswith("weight")
        else:
            new *= np.sqrt(2 / np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(new, np.float32))
    return state


def shapes_of(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    state = net.state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="session")
def made_up():
    """made_up(net) -> a state dict for it; see `weights_of`."""
    return lambda net: weights_of(shapes_of(net))


@pytest.fixture(scope="session", name="shapes_of")
def shapes_of_fixture():
    """shapes_of(net) -> name -> shape of what its published weights hold."""
    return shapes_of


@pytest.fixture(scope="session")
def weights():
    """weights(shapes) -> a state dict of these names and shapes; see `weights_of`."""
    return weights_of


def coarse_pictures(count: int, size: int, cell: int = 8) -> np.ndarray:
    cells = np.random.RandomState(1).randint(0, 256, (count, 3, size // cell, size // cell), np.uint8)
    return cells.repeat(cell, 2).repeat(cell, 3)


@pytest.fixture(scope="session")
def pictures():
    """pictures(count, size) -> (count 3 size size) uint8 of coloured squares."""
    return coarse_pictures
