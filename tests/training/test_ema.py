"""The average equals that of diffusers, and is evaluated in a copy of the model."""

import copy

import pytest
import torch
from diffusers.training_utils import EMAModel

from emo.training.ema import ExponentialMovingAverage
from emo.training.trainer import load_average


def train_randomly(average: ExponentialMovingAverage, model: torch.nn.Module, steps: int) -> None:
    for _ in range(steps):
        with torch.no_grad():
            model.weight += torch.randn_like(model.weight)
        average.update()


def test_average_equals_diffusers_and_covers_trained_parameters():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    expected = EMAModel([model.weight], decay=0.9, use_ema_warmup=True, power=0.75)
    average = ExponentialMovingAverage(model, 0.9)
    assert list(average.gather()) == ["weight"] and average.decay == 0
    for _ in range(30):  # the decay reaches its maximum at step 22
        train_randomly(average, model, 1)
        expected.step([model.weight])
        assert average.decay == expected.cur_decay_value
        assert torch.allclose(average.gather()["weight"], expected.shadow_params[0], atol=1e-6)


def test_half_precision_weights_are_averaged_in_full_precision():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(model.weight)
    average = ExponentialMovingAverage(model, 0.9999)
    average.steps = 10**6
    torch.nn.init.constant_(model.weight, 2.0)
    average.update()
    assert average.gather()["weight"].item() == pytest.approx(1.0001, abs=1e-6)  # the next number of bfloat16 is 1.0078


def test_saved_average_continues():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    average = ExponentialMovingAverage(model, 0.9)
    train_randomly(average, model, 3)
    other_model = copy.deepcopy(model)
    other = ExponentialMovingAverage(other_model, 0.9)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    for one in ((average, model), (other, other_model)):
        torch.manual_seed(1)
        train_randomly(*one, 3)
    assert all(torch.equal(value, other.gather()[name]) for name, value in average.gather().items())


def test_average_is_loaded_into_a_copy_and_the_model_is_unchanged():
    model = torch.nn.Linear(2, 2)
    average, eval_model, before = (
        ExponentialMovingAverage(model, 0.5),
        copy.deepcopy(model),
        model.weight.detach().clone(),
    )
    average.update()
    with torch.no_grad():
        model.weight += 1
    with load_average(average, eval_model, torch.device("cpu")) as averaged:
        assert averaged is eval_model and torch.equal(averaged.weight, before) and torch.equal(model.weight, before + 1)
    train_randomly(average, model, 2)
    with load_average(average, eval_model, torch.device("cpu")) as averaged:
        assert torch.equal(averaged.weight, average.gather()["weight"]) and not torch.equal(averaged.weight, before)
