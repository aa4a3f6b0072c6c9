"""Several processes train as one does: same samples, gradients and weights; all skip and stop when one must."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo.core.config import Config, save_config
from emo.training.trainer import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no fork")

LAUNCH = """
import json, os, signal, socket, sys, traceback

from accelerate.state import AcceleratorState, DistributedType, PartialState

from emo.core.config import load_config
from emo.training import diffusion, trainer

LAYERS = "ResnetBlock2D,SpatialTransformer,TemporalTransformer,Downsample2D,Upsample2D"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def shard():
    # accelerate supports FSDP on GPUs only, torch also on CPUs
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}
    os.environ |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_TRANSFORMER_CLS_TO_WRAP": LAYERS}
    start = AcceleratorState.__init__

    def started(self, *arguments, fsdp_plugin=None, **options):
        start(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin:
            PartialState._shared_state["distributed_type"] = self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = started


def make_trouble():
    # The loss of this process is non-finite in the second step, and it gets SIGTERM in the third
    loss, batch, steps = diffusion.DiffusionTask.compute_loss, diffusion.DiffusionTask.make_batch, []

    def drawn(self, numbers, device):
        made = batch(self, numbers, device)
        made.names = ["a clip of rank 1"]
        steps.append(len(steps) + 1)
        return made

    def met(self, model, given, generators):
        value, parts = loss(self, model, given, generators)
        if steps[-1] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return (value * float("nan") if steps[-1] == 2 else value), parts

    diffusion.DiffusionTask.compute_loss, diffusion.DiffusionTask.make_batch = met, drawn


def run(config, rank, processes, kind, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_PORT": port}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    if kind == "trouble" and rank == 1:
        make_trouble()
    if kind == "shards":
        shard()
    return 0 if trainer.train(load_config(config)) else 3


for config, processes, kind in json.loads(sys.argv[1]):
    children, port = [], free_port()
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run(config, rank, processes, kind, port)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(child)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
"""


def launch(tmp_path: Path, *runs: tuple[Config, int, str]) -> list[str]:
    """Trains each run with several processes, plain or with "shards" or "trouble"; returns the printed lines."""
    given = []
    for i, (config, processes, kind) in enumerate(runs):
        save_config(config, tmp_path / f"run_{i}.yaml")
        given.append((str(tmp_path / f"run_{i}.yaml"), processes, kind))
    command = [sys.executable, "-c", LAUNCH, json.dumps(given)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=environment)
    lines = done.stdout.splitlines()
    ended = [line for line in lines if line.startswith("[")]
    expected = [str([3 if kind == "trouble" else 0] * processes) for _, processes, kind in runs]
    assert done.returncode == 0 and ended == expected, done.stderr
    return lines


def max_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of the saved model."""
    return load_file(run / "model" / "model" / "diffusion_pytorch_model.safetensors")


@pytest.fixture
def ten_steps(config, tmp_path):
    """ten_steps(name, ...) -> a run of ten steps of four samples, a checkpoint at each."""

    def make(name: str, **changes) -> Config:
        options = dict(steps=10, batch_size=4, learning_rate=1e-4, final_learning_rate_ratio=1.0, keep_checkpoints=0)
        return replace(config, output=str(tmp_path / name), **options | {"checkpoint_steps": 1} | changes)

    return make


def test_processes_and_micro_batches_do_not_change_the_training(ten_steps, read_checkpoint, read_log, tmp_path):
    train(ten_steps("one"))
    train(ten_steps("micro", gradient_accumulation_steps=4))
    two = ten_steps("two", device=None), 2, ""
    launch(tmp_path, two, (ten_steps("both", gradient_accumulation_steps=2, gradient_checkpointing=True), 2, ""))
    for name in ("micro", "two", "both"):
        one, other = read_checkpoint(tmp_path / "one", 1), read_checkpoint(tmp_path / name, 1)
        gradients = [{key: value for key, value in x.items() if key.endswith("exp_avg")} for x in (one, other)]
        assert len(gradients[0]) > 50 and max_difference(*gradients) < 1e-6
        assert max_difference(read_checkpoint(tmp_path / "one", 10), read_checkpoint(tmp_path / name, 10)) < 1e-6
        assert max_difference(weights(tmp_path / "one"), weights(tmp_path / name)) < 1e-6
        for row, same in zip(read_log(tmp_path / "one"), read_log(tmp_path / name), strict=True):
            assert row == pytest.approx(same, rel=1e-4)  # losses by timestep are over all processes


def test_run_resumes_with_another_number_of_processes(ten_steps, read_checkpoint, tmp_path):
    train(ten_steps("one", steps=6))
    run = ten_steps("other", steps=2)
    alone = replace(run, steps=4, gradient_accumulation_steps=2)
    launch(tmp_path, (run, 2, ""), (alone, 1, ""), (replace(run, steps=6), 2, ""))
    assert max_difference(read_checkpoint(tmp_path / "one", 6), read_checkpoint(tmp_path / "other", 6)) < 1e-6


def test_sharded_weights_train_the_same_and_resume_from_their_checkpoint(ten_steps, read_log, tmp_path):
    train(ten_steps("one"))
    run = ten_steps("shards", checkpoint_steps=5)
    launch(tmp_path, (replace(run, steps=5), 2, "shards"), (replace(run, gradient_accumulation_steps=2), 2, "shards"))
    one, other = weights(tmp_path / "one"), weights(tmp_path / "shards")
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
    assert max_difference(one, other) < 1e-5
    for row, same in zip(read_log(tmp_path / "one"), read_log(tmp_path / "shards"), strict=True):
        assert row == pytest.approx(same, rel=1e-4)


def test_all_skip_and_stop_when_one_must(config, read_log, tmp_path):
    lines = launch(tmp_path, (config, 2, "trouble"))
    assert [row["skipped"] for row in read_log(tmp_path / "run")] == [0, 1, 0]
    messages = [line for line in lines if "is skipped" in line]
    assert len(messages) == 1 and messages[0].startswith("step 2 is skipped: loss nan")
    assert messages[0].endswith(", the clips a clip of rank 1")
    kept = tmp_path / "run" / "checkpoints" / "step_00000003"
    assert {"random_states_0.pkl", "random_states_1.pkl", "loss.json"} <= {path.name for path in kept.iterdir()}
