"""A card states the facts of a run and nothing else; a published model can be downloaded unchanged."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from emo.cli.publish import main
from emo.core.config import Config, DataConfig, InitializeConfig, LoraConfig, load_config, save_config
from emo.core.errors import InputError
from emo.hub.publish.card import CardOptions
from emo.hub.publish.facts import collect_facts
from emo.hub.publish.results import markdown_table
from emo.hub.publish.upload import collect_files
from emo.media.html import loss_chart

FIGURE = {"mean": 0.5, "low": 0.4, "high": 0.6, "clips": 3}
ROWS = [
    {"step": 10, "loss": 2.0, "seconds_per_step": 36.0},
    {"step": 20, "loss": 1.0, "seconds_per_step": 36.0},
    {"step": 20, "validation/loss": 1.5},
]


@pytest.fixture
def run(tmp_path, tiny_model_folder, clips_folder) -> Path:
    """The folder of a run as emo-train leaves it."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_model_folder, folder / "model")
    held_out = tmp_path / "hold_out.txt"
    held_out.write_text("bert\n")
    data = DataConfig(clips={str(clips_folder): 1.0}, shards=["hf://datasets/org/talks/shards"], hold_out=str(held_out))
    begin = InitializeConfig(unet="org/sd15", motion_adapter=str(tmp_path))
    save_config(Config(output=str(folder), steps=20, data=data, initialize=begin), folder / "config.yaml")
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "samples").mkdir()
    for name in ("step_00000010_a", "step_00000020_a", "step_00000020_b"):
        (folder / "samples" / f"{name}.mp4").write_bytes(name.encode())
    return folder


@pytest.fixture
def report(tmp_path) -> Path:
    path = tmp_path / "report.json"
    meaning = {"lip_dynamics": {"unit": "% of face", "good": "as real"}, "CSIM": {"unit": "cosine", "good": "as real"}}
    nothing = {"mean": None, "low": None, "high": None, "clips": 0}
    one = {"score": FIGURE, "measures": {"lip_dynamics": FIGURE, "CSIM": nothing}, "distances": {"FID": FIGURE}}
    real = {"score": FIGURE, "measures": {"lip_dynamics": FIGURE | {"mean": 0.75}, "CSIM": nothing}, "distances": {}}
    path.write_text(json.dumps({"reference": "real clips", "measures": meaning, "sets": [one, real]}))
    return path


def metadata(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_a_card_states_the_facts_of_the_run(run, clips_folder, tiny_pipeline):
    files = collect_files(collect_facts(run), CardOptions("org/name", "mit"))
    card, given = files["README.md"].decode(), metadata(files["README.md"])
    assert given["license"] == "mit" and given["library_name"] == "diffusers"
    assert given["base_model"] == ["org/sd15"] and given["datasets"] == ["org/talks"]
    assert "model-index" not in given and "metrics" not in given
    for name in ("model", "vae", "audio_encoder"):
        count = sum(p.numel() for p in getattr(tiny_pipeline, name).state_dict().values())
        assert f"| {name} | `{type(getattr(tiny_pipeline, name)).__name__}` | {count:,} |" in card
    hours = 3 * 16 / 25 / 3600
    assert f"| {clips_folder.name} | none | 2 | 3 | {hours:.3g} |" in card
    assert "1 people are held out" in card and "0.2 hours." in card and "steps 20" in card
    assert str(run.parent) not in card  # no path of a machine
    shown = {path for path in files if path.startswith("samples/")}
    assert shown == {"samples/step_00000020_a.mp4", "samples/step_00000020_b.mp4"}
    assert all(f"org/name/resolve/main/{path}" in card for path in shown)
    assert files["training.svg"].startswith(b"<svg") and "(training.svg)" in card


def test_a_model_without_its_run_has_a_shorter_card(tiny_model_folder):
    files = collect_files(collect_facts(tiny_model_folder), CardOptions("org/name", "mit"))
    card = files["README.md"].decode()
    for section in ("Data", "Training", "Samples", "Evaluation", "Speed"):
        assert f"## {section}\n" not in card
    for section in ("Use", "Architecture", "Limits", "Intended use, and misuse", "Citation"):
        assert f"## {section}\n" in card
    model = {path.relative_to(tiny_model_folder).as_posix() for path in tiny_model_folder.rglob("*") if path.is_file()}
    assert files.keys() == model | {"README.md"}


def test_missing_footage_is_reported(run, run_main, tmp_path):
    config = load_config(run / "config.yaml")
    config.data.clips = {"gone/clips": 1.0}
    save_config(config, run / "config.yaml")
    given = run, "org/name", "--license", "mit", "--card", tmp_path / "card.md"
    code, _, err = run_main(main, "emo-publish", *given)
    assert code == 0 and err == "emo-publish: gone/clips is missing, so the card does not describe its training data\n"
    assert "| footage |" not in (tmp_path / "card.md").read_text()


def test_a_card_describes_adapters(run):
    config = load_config(run / "config.yaml")
    save_config(replace(config, lora=LoraConfig(rank=4), start_from="org/base"), run / "config.yaml")
    card = collect_files(collect_facts(run), CardOptions("org/name", "mit"))["README.md"].decode()
    assert "emo-infer portrait.png song.wav --model org/name --lora org/name\n" in card
    assert "LoRA adapters of rank 4" in card and "Initialized from org/base, org/sd15." in card


def test_measures_are_in_a_table_and_in_the_index(run, report, tmp_path):
    bench = tmp_path / "bench.json"
    one = {"frames": 10, "seconds": 2.0, "first_frame_seconds": 0.5, "start_up_seconds": 4.0, "peak_gb": 0.7}
    one |= {"stages": {"denoise": 2.0}, "flops": {}, "flops_per_second": 0.0}
    bench.write_text(json.dumps([{"setting": {"model": "runs/x", "steps": 4}, "runs": [one]}]))
    files = collect_files(collect_facts(run), CardOptions("org/name", "mit", report=report, bench=bench))
    card, given = files["README.md"].decode(), metadata(files["README.md"])
    assert "| lip_dynamics (% of face) | as real | 0.5 [0.4, 0.6] | 0.75 [0.4, 0.6] |" in card
    assert "| steps=4 | 5 | 5 | 0.5 s | 0.7 GB |" in card
    (index,) = given["model-index"]
    metrics = {m["type"]: m["value"] for result in index["results"] for m in result["metrics"]}
    assert index["name"] == "name" and metrics == {"score": 0.5, "fid": 0.5, "lip_dynamics": 0.5}
    assert index["results"][0]["dataset"] == {"type": "real-clips", "name": "real clips"}


def test_wrong_inputs_raise_errors(run, report, tmp_path):
    report.write_text("{}")
    (tmp_path / "empty").mkdir()
    assert collect_facts(run).missing_clip_folders == []
    for options, says in [
        (CardOptions("org/name", "mit", report=report), "report.json is not a report.json of emo-eval"),
        (CardOptions("org/name", "mit", bench=tmp_path / "none.json"), "none.json can't be read"),
        (CardOptions("org/name", "My Licence"), "license='My Licence': give an id"),
        (CardOptions("org/name", "mit", datasets=["a/b/c"]), "the card would be refused: .*a/b/c"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            collect_files(collect_facts(run), options)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds no model: give a run's folder"):
        collect_facts(tmp_path / "empty")
    (run / "model" / "model_index.json").unlink()
    with pytest.raises(InputError, match="holds no model: only complete pipelines are published"):
        collect_facts(run)
    shutil.rmtree(run / "model")
    with pytest.raises(InputError, match="holds no model: its run has not ended"):
        collect_facts(run)


def test_a_loss_chart_spans_the_largest_and_the_smallest_loss():
    drawn = loss_chart(ROWS)
    assert 'points="345.0,24.0 630.0,210.0"' in drawn  # 2.0 at half of the width on top, 1.0 at its end below
    assert drawn.count("<polyline") == 2
    assert loss_chart(ROWS[:1]) is None and loss_chart([]) is None
    assert (
        loss_chart([*ROWS, {"step": 15, "loss": float("nan")}])
        == loss_chart([*ROWS, {"step": 15, "loss": float("inf")}])
        == drawn
    )


def test_table_cells_are_escaped():
    assert markdown_table(("a", "b"), [("x|y\nz", "")]) == "| a | b |\n| --- | --- |\n| x\\|y z |  |"


def emo_publish(*options) -> list[str]:
    return [sys.executable, "-m", "emo.cli.publish", *(str(option) for option in options)]


COMMAND = (  # of docs/published-models.md
    "emo-publish runs/fine_tune OWNER/NAME --license cc-by-4.0 --report evaluation/report.json --bench bench.json"
)


def test_publishing_is_atomic_and_resumes_after_a_break(hub, fresh, run, report, token, tmp_path):
    for link, target in (("runs/fine_tune", run), ("evaluation/report.json", report)):
        (tmp_path / link).parent.mkdir()
        (tmp_path / link).symlink_to(target)
    (bench := tmp_path / "bench.json").write_text("[]")
    command = emo_publish(*COMMAND.split()[1:])
    hub.refused_uploads = 99  # but for the first
    broken = fresh(command, token)
    assert broken.returncode == 2 and "Traceback" not in broken.stderr
    assert "emo-publish: OWNER/NAME is not published: the Hub refuses access (HTTP 403)" in broken.stderr
    before, hub.refused_uploads = hub.uploaded.copy(), 0
    assert before and not hub.repositories["OWNER/NAME"].files
    done = fresh(command, token)
    assert done.returncode == 0, done.stderr
    files, expected = (
        hub.repositories["OWNER/NAME"].files,
        collect_files(collect_facts(run), CardOptions("OWNER/NAME", "cc-by-4.0", report=report, bench=bench)),
    )
    assert files.keys() == expected.keys()
    for path, given in expected.items():
        if path != "README.md":  # it names the server
            assert files[path] == (given.read_bytes() if isinstance(given, Path) else given)
    assert len(hub.uploaded) == len(set(hub.uploaded)) and hub.uploaded[: len(before)] == before


def test_refusals_of_the_hub_are_one_line(hub, fresh, tiny_model_folder, token):
    command = emo_publish(tiny_model_folder, "org/name", "--license")
    for license, given, says in [
        ("none-such", token, 'the Hub refuses the card: .*"license" must be one of'),
        ("mit", None, "the Hub requires a login: `hf auth login`"),
        ("mit", "hf_wrong", "the Hub does not know your token"),
    ]:
        done = fresh([*command, license], given)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert re.search(f"emo-publish: org/name is not published: {says}", done.stderr.splitlines()[-1]), done.stderr
    assert not hub.uploaded


LOAD = """
import hashlib, sys
import numpy as np, torch
from emo import EMOPipeline
pipe = EMOPipeline.from_pretrained("org/name")
portrait, wave = np.load(sys.argv[1]), np.load(sys.argv[2])
frames = pipe(portrait, wave, face="full", generator=torch.Generator().manual_seed(3)).frames
print(len(frames), hashlib.sha256(frames.tobytes()).hexdigest())
"""


def frames_of(pipeline, portrait: np.ndarray, wave: np.ndarray) -> str:
    import torch

    frames = pipeline(portrait, wave, face="full", generator=torch.Generator().manual_seed(3)).frames
    return f"{len(frames)} {hashlib.sha256(frames.tobytes()).hexdigest()}"


def test_a_private_repository(hub, fresh, tiny_model_folder, token):
    done = fresh(emo_publish(tiny_model_folder, "org/name", "--license", "mit", "--private"), token)
    assert done.returncode == 0 and hub.repositories["org/name"].private


def test_mini_published_and_downloaded_gives_the_same_frames(hub, fresh, portrait, wave, token, tmp_path):
    from emo.hub.resolve import load_pipeline

    done = fresh(emo_publish("mini", "org/name", "--license", "apache-2.0"), token)
    assert done.returncode == 0, done.stderr
    np.save(tmp_path / "portrait.npy", portrait)
    np.save(tmp_path / "wave.npy", wave[:1920])
    assert not (tmp_path / "hf_home" / "hub").exists()
    again = fresh([sys.executable, "-c", LOAD, str(tmp_path / "portrait.npy"), str(tmp_path / "wave.npy")])
    assert again.returncode == 0, again.stderr
    assert again.stdout.split("\n")[-2] == frames_of(load_pipeline("mini", "cpu"), portrait, wave[:1920]), again.stderr
    assert again.stdout.startswith("3 ")


def test_push_to_hub_and_from_pretrained(hub, fresh, tiny_model_folder, tiny_pipeline, portrait, wave, token, tmp_path):
    push = "import sys; from emo import EMOPipeline; EMOPipeline.from_pretrained(sys.argv[1]).push_to_hub('org/name')"
    done = fresh([sys.executable, "-c", push, str(tiny_model_folder)], token)
    assert done.returncode == 0, done.stderr
    np.save(tmp_path / "portrait.npy", portrait)
    np.save(tmp_path / "wave.npy", wave)
    part = """
from emo.hub.resolve import find_component
print(len([*find_component("start_from", "org/name", "model").iterdir()]))
"""
    load = [sys.executable, "-c", LOAD + part, str(tmp_path / "portrait.npy"), str(tmp_path / "wave.npy")]
    again = fresh(load)
    assert again.stdout.split("\n")[-3:] == [frames_of(tiny_pipeline, portrait, wave), "2", ""], again.stderr
