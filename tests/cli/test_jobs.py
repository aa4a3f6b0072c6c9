"""emo-infer --jobs: every job gets its line, one bad job stops no other, a second run makes what is missing."""

import json
import shutil
from pathlib import Path

import pytest

from emo.cli import infer
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


def test_what_was_there_before_is_not_replaced(folder, command):
    Path("a.mp4").write_text("mine")
    write_jobs({"portrait": "portrait.png", "sound": "sound.wav", "output": "a.mp4"})
    assert command("--jobs", "jobs.jsonl")[0] == 2
    assert "exists" in read_results()[-1]["error"] and Path("a.mp4").read_text() == "mine"


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
