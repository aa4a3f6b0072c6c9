"""A run that is killed at any moment, again and again, ends as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emo.core.config import save_config

LIVES = """
import os, random, signal, sys, traceback
from dataclasses import replace
from pathlib import Path

from emo.core.config import load_config
from emo.training import diffusion, trainer

config, chance, claim = load_config(sys.argv[1]), random.Random(0), trainer.claim


def live(output, moments):
    # Trains in a process of its own, which kills itself after so many calls and returns; its wait status
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]

    def count(frame, event, argument):
        nonlocal moments
        moments -= 1
        if moments == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def claim_and_count(*arguments):
        sys.setprofile(count)
        claim(*arguments)

    trainer.claim = claim_and_count
    code = 1
    try:
        trainer.train(replace(config, output=output))
        sys.setprofile(None)
        Path(output + ".moments").write_text(str(-moments))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


folder = Path(config.output).parent
assert live(str(folder / "unbroken"), 0) == 0
whole = int((folder / "unbroken.moments").read_text())
kills = runs = 0
while kills < 10:
    runs += 1
    while status := live(str(folder / f"killed_{runs}"), chance.randint(1, whole // 3) if kills < 10 else 0):
        assert status == signal.SIGKILL, status
        kills += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_ten_kills_at_any_moment_leave_no_trace(config, checkpoint, logged, tmp_path):
    save_config(config, tmp_path / "tiny.yaml")
    done = subprocess.run(
        [sys.executable, "-c", LIVES, tmp_path / "tiny.yaml"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    unbroken, killed = tmp_path / "unbroken", sorted(tmp_path.glob("killed_?"))
    assert killed
    for run in killed:
        one, other = checkpoint(run, 6), checkpoint(unbroken, 6)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        assert logged(run) == logged(unbroken) and [row["step"] for row in logged(run)] == [1, 2, 3, 4, 5, 6]
        kept = [sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (run, unbroken)]
        assert kept[0] == kept[1]
        for file in ("model/model/diffusion_pytorch_model.safetensors", "checkpoints/step_00000006/loss.json"):
            assert (run / file).read_bytes() == (unbroken / file).read_bytes()
