"""Two processes: what one of them meets, both heed at the same step."""

import subprocess
import sys
from pathlib import Path

import pytest

from emo.config import save_config

TWO = """
import os, signal, socket, sys, traceback

from emo.config import load_config
from emo.training import diffusion, trainer

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def second_meets_trouble():
    # Its loss is no number in the second step, and it is told to stop in the third
    loss, batch, steps = diffusion.DiffusionTask.loss, diffusion.DiffusionTask.batch, []

    def drawn(self, rng, device):
        made = batch(self, rng, device)
        made.names = ["clip of the second"]
        steps.append(len(steps) + 1)
        return made

    def met(self, model, given, generator):
        value, parts = loss(self, model, given, generator)
        if steps[-1] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return (value * float("nan") if steps[-1] == 2 else value), parts

    diffusion.DiffusionTask.loss, diffusion.DiffusionTask.batch = met, drawn


children = []
for rank in range(2):
    child = os.fork()
    if child == 0:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        code = 1
        try:
            if rank == 1:
                second_meets_trouble()
            code = 0 if trainer.train(load_config(sys.argv[1])) is None else 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_both_skip_and_stop_where_one_must(config, logged, tmp_path):
    save_config(config, tmp_path / "tiny.yaml")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", TWO, tmp_path / "tiny.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[0, 0]", done.stderr
    assert [row["skipped"] for row in logged(tmp_path / "run")] == [0, 1, 0]
    said = [line for line in done.stdout.splitlines() if "is skipped" in line]
    assert len(said) == 1 and said[0].startswith("step 2 is skipped: loss nan")
    assert said[0].endswith(", the clips clip of the second")
    kept = tmp_path / "run" / "checkpoints" / "step_00000003"
    assert {"random_states_0.pkl", "random_states_1.pkl", "loss.json"} <= {path.name for path in kept.iterdir()}
