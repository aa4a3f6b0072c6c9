"""A run that is killed repeatedly, at any moment, ends as an unbroken one does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emo.core.config import save_config

SCRIPT = """
import os, random, signal, sys, traceback
from dataclasses import replace
from pathlib import Path

from emo.core.config import load_config
from emo.training import diffusion, trainer

config, rng, save_config = load_config(sys.argv[1]), random.Random(0), trainer.save_config


def run(output, calls):
    # Trains in a child process, which kills itself after so many Python calls and returns; its wait status
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]

    def count(frame, event, argument):
        nonlocal calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def start_counting(*arguments):
        sys.setprofile(count)
        save_config(*arguments)

    trainer.save_config = start_counting  # the first thing that a run writes
    code = 1
    try:
        trainer.train(replace(config, output=output))
        sys.setprofile(None)
        Path(output + ".calls").write_text(str(-calls))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


folder = Path(config.output).parent
assert run(str(folder / "unbroken"), 0) == 0
total = int((folder / "unbroken.calls").read_text())
kills = runs = 0
while kills < 10:
    runs += 1
    while status := run(str(folder / f"killed_{runs}"), rng.randint(1, total // 3) if kills < 10 else 0):
        assert status == signal.SIGKILL, status
        kills += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_ten_kills_do_not_change_the_result(config, read_checkpoint, read_log, tmp_path):
    save_config(config, tmp_path / "tiny.yaml")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "tiny.yaml"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    unbroken, killed = tmp_path / "unbroken", sorted(tmp_path.glob("killed_?"))
    assert killed
    for run in killed:
        one, other = read_checkpoint(run, 6), read_checkpoint(unbroken, 6)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        assert read_log(run) == read_log(unbroken) and [row["step"] for row in read_log(run)] == [1, 2, 3, 4, 5, 6]
        kept = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (run, unbroken)]
        assert kept[0] == kept[1]
        for file in ("model/model/diffusion_pytorch_model.safetensors", "checkpoints/step_00000006/loss.json"):
            assert (run / file).read_bytes() == (unbroken / file).read_bytes()
