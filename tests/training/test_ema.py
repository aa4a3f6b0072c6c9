"""The average of the weights is that of the field, and it is seen in a copy."""

import copy

import pytest
import torch
from diffusers.training_utils import EMAModel

from emo.training.ema import Average
from emo.training.trainer import averaged


def moved(average: Average, model: torch.nn.Module, steps: int) -> None:
    for _ in range(steps):
        with torch.no_grad():
            model.weight += torch.randn_like(model.weight)
        average.step()


def test_it_is_that_of_diffusers_and_of_what_is_trained():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    known = EMAModel([model.weight], decay=0.9, use_ema_warmup=True, power=0.75)
    average = Average(model, 0.9)
    assert list(average.whole()) == ["weight"] and average.decay == 0
    for _ in range(30):  # the decay is full from step 22 on
        moved(average, model, 1)
        known.step([model.weight])
        assert average.decay == known.cur_decay_value
        assert torch.allclose(average.whole()["weight"], known.shadow_params[0], atol=1e-6)


def test_weights_of_half_precision_are_averaged_in_full():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(model.weight)
    average = Average(model, 0.9999)
    average.steps = 10**6
    torch.nn.init.constant_(model.weight, 2.0)
    average.step()
    assert average.whole()["weight"].item() == pytest.approx(1.0001, abs=1e-6)  # bfloat16's next is 1.0078


def test_a_saved_average_goes_on():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    average = Average(model, 0.9)
    moved(average, model, 3)
    other_model = copy.deepcopy(model)
    other = Average(other_model, 0.9)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    for one in ((average, model), (other, other_model)):
        torch.manual_seed(1)
        moved(*one, 3)
    assert all(torch.equal(value, other.whole()[name]) for name, value in average.whole().items())


def test_it_is_put_into_a_copy_and_the_model_is_left():
    model = torch.nn.Linear(2, 2)
    average, shown, before = Average(model, 0.5), copy.deepcopy(model), model.weight.detach().clone()
    average.step()
    with torch.no_grad():
        model.weight += 1
    with averaged(average, shown, torch.device("cpu")) as seen:
        assert seen is shown and torch.equal(seen.weight, before) and torch.equal(model.weight, before + 1)
    moved(average, model, 2)
    with averaged(average, shown, torch.device("cpu")) as seen:
        assert torch.equal(seen.weight, average.whole()["weight"]) and not torch.equal(seen.weight, before)
