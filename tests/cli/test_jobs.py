"""emo-infer --jobs: every job gets its line, one bad job stops no other, a second run makes what is missing."""

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from emo.cli import infer
from emo.core.files import partial_path
from emo.media.audio import probe_audio
from emo.speech.contracts import SynthesizedSpeech


@pytest.fixture
def folder(tmp_path, monkeypatch, portrait_path, write_wav, wave) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(portrait_path, "portrait.png")
    write_wav(Path("sound.wav"), wave[:3200])
    return tmp_path


@pytest.fixture
def command(run_main, tiny_model_folder):
    """command(*arguments) -> exit code, stdout, stderr of emo-infer with the tiny model."""

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_main(
            infer.main, "emo-infer", "--model", tiny_model_folder, "--device", "cpu", "--face=full", *arguments
        )

    return call


def write_jobs(*jobs) -> None:
    Path("jobs.jsonl").write_text("\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs))


def read_results() -> list[dict]:
    return [json.loads(line) for line in Path("jobs.results.jsonl").read_text().splitlines()]


def test_good_and_bad_jobs(folder, command):
    good = {"portrait": "portrait.png", "sound": "sound.wav", "output": "a.mp4", "fps": 10, "crop": True}
    missing = {"image": "portrait.png", "audio": "none.wav", "output": "b.mp4"}
    write_jobs(good, missing, {**good, "fps": 1000}, "no JSON", {"portrait": "portrait.png"}, {**good, "danse": 1}, "")
    code, out, err = command("--jobs", "jobs.jsonl", "--duration", "0.1")
    assert code == 2 and "5 of 6 jobs failed: jobs.results.jsonl says why" in err
    done = [record for record in read_results() if record["status"] != "started"]
    assert [record["status"] for record in done] == ["completed"] + ["failed"] * 5
    assert done[0]["output"] == "a.mp4" and done[0]["frames"] == 1
    said = [
        "none.wav: no such file",
        "1000 is not between 1 and 120",
        "not JSON",
        "required: sound",
        "danse is no option",
    ]
    assert all(part in record["error"] for part, record in zip(said, done[1:], strict=True))
    assert sorted(path.name for path in folder.glob("*.mp4")) == ["a.mp4"]


def test_a_second_run_makes_what_is_missing(folder, command):
    job = {"portrait": "portrait.png", "sound": "sound.wav", "fps": 10, "crop": True}
    jobs = [{**job, "output": name, "seed": seed} for seed, name in enumerate(("a.mp4", "b.mp4"))]
    write_jobs(jobs[0])
    assert command("--jobs", "jobs.jsonl")[0] == 0
    made = Path("a.mp4").stat().st_mtime_ns
    write_jobs(*jobs)
    keys = [record["key"] for record in read_results()]
    with Path("jobs.results.jsonl").open("a") as file:  # a run that was killed while it wrote
        file.write('{"key": "' + keys[0])
    code, out, _ = command("--jobs", "jobs.jsonl")
    assert code == 0 and "2 of 2 videos, 1 of them made before" in out
    assert Path("a.mp4").stat().st_mtime_ns == made and Path("b.mp4").exists()


@pytest.mark.parametrize("name", ["a.mp4", None], ids=["named", "by default"])
def test_what_was_there_before_is_not_replaced(folder, command, name):
    mine = Path(name or "portrait_sound.mp4")
    mine.write_text("mine")
    write_jobs({"portrait": "portrait.png", "sound": "sound.wav", "output": name})
    for _ in range(2):
        assert command("--jobs", "jobs.jsonl")[0] == 2
        assert "exists" in read_results()[-1]["error"] and mine.read_text() == "mine"


def test_a_run_that_was_killed_leaves_nothing_after_the_next(folder, command):
    """As after kill -9: the job is begun in the results, and its file lies there under its temporary name."""
    job = {"portrait": "portrait.png", "sound": "sound.wav", "output": "a.mp4", "fps": 10, "crop": True}
    write_jobs(job)
    assert command("--jobs", "jobs.jsonl")[0] == 0
    lines = Path("jobs.results.jsonl").read_text().splitlines()
    Path("jobs.results.jsonl").write_text(lines[0] + "\n")
    left, of_others = partial_path(Path("a.mp4")), partial_path(Path("b.mp4"))
    left.touch(), of_others.touch(), Path("a.mp4").unlink()
    assert command("--jobs", "jobs.jsonl")[0] == 0
    assert Path("a.mp4").exists() and list(folder.glob(".*.part")) == [folder / of_others]


def test_two_jobs_do_not_write_the_same_file(folder, command):
    job = {"portrait": "portrait.png", "sound": "sound.wav", "fps": 10, "crop": True}
    write_jobs(job, {**job, "seed": 1, "output": "portrait_sound.mp4"})
    assert command("--jobs", "jobs.jsonl")[0] == 2
    done = [record for record in read_results() if record["status"] != "started"]
    assert [record["status"] for record in done] == ["completed", "failed"]
    assert done[1]["error"] == "line 2: line 1 writes portrait_sound.mp4, too; give every job another output"


POLICY = """
import os, signal
def kill(image, audio):
    if audio is not None and audio.name == "deadly.wav":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_cluster_finds_relative_paths_and_outlives_a_killed_process(folder, command, monkeypatch, tmp_path_factory):
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    (folder / "deadly_policy.py").write_text(POLICY)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("EMO_POLICY", "deadly_policy:kill")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # the folder in which the cluster was started
    shutil.copy(folder / "sound.wav", folder / "deadly.wav")
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            monkeypatch.chdir(folder)
            job = {"portrait": "portrait.png", "fps": 10, "crop": True}
            write_jobs({**job, "sound": "deadly.wav"}, {**job, "sound": "sound.wav", "output": "b.mp4"})
            code, out, err = command("--jobs", "jobs.jsonl", "--ray", cluster.address)
        finally:
            cluster.shutdown()
    assert code == 2 and "1 of 2 jobs failed" in err and "1 of 2 videos" in out
    done = {record.get("sound"): record for record in read_results() if record["status"] != "started"}
    assert done["sound.wav"]["status"] == "completed" and Path("b.mp4").exists()
    assert done["deadly.wav"]["error"].startswith("its process was killed or crashed twice")
    assert not list(folder.glob(".*.part")) and not Path("portrait_deadly.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs", "none.jsonl"], "none.jsonl can't be read (No such file or directory)"),
        (["--jobs", "empty.jsonl"], "empty.jsonl holds no job"),
        (["portrait.png", "sound.wav", "--jobs", "empty.jsonl"], "--jobs names portraits"),
        (["portrait.png"], "required: sound, or --text"),
        ([], "required: portrait, sound"),
        (["portrait.png", "sound.wav", "--text", "Hello"], "either a sound or --text"),
        (["portrait.png", "sound.wav", "--voice", "heart"], "need --text"),
        (["portrait.png", "--text", "Hello", "--tts", "nowhere"], "--tts nowhere: give the address"),
    ],
)
def test_wrong_combinations(folder, command, arguments, said):
    Path("empty.jsonl").touch()
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_text_becomes_a_video(folder, command, monkeypatch, wave):
    class Synthesizer:
        def synthesize(self, text, language, voice=None):
            assert (text, voice) == ("Hello", "heart")
            return SynthesizedSpeech(wave[:4800], 24000)

    monkeypatch.setattr("emo.speech.synthesis.load_synthesizer", lambda url: Synthesizer())
    code, out, _ = command("portrait.png", "--text", "Hello", "--voice", "heart")
    assert code == 0 and out.startswith("portrait_speech.mp4: 5 frames")
    assert probe_audio("portrait_speech.mp4").seconds == pytest.approx(0.2, abs=0.05)
