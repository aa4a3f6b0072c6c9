"""Downloads are complete and verified, or one line explains why not and the cache has no wrong file."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

LARGE = "model/weights.safetensors"
FILES = {"model_index.json": b'{"_class_name": "EMOPipeline"}', LARGE: os.urandom(300_000)}
GET = """
import sys
from emo.core.download import download_snapshot
from emo.core.errors import InputError
try:
    print(download_snapshot("--model org/name: no such folder", {name!r}, **{options!r}))
except InputError as error:
    sys.exit(f"emo-infer: {{error}}")
"""


@pytest.fixture
def get(fresh):
    """get(name, token, options, **environment) -> the folder, or the one line that says why there is none."""

    def run(name: str = "org/name", token: str | None = None, options: dict | None = None, **environment: str):
        done = fresh(GET.format(name=name, options=options or {}), token, **environment)
        if done.returncode == 0:
            return Path(done.stdout.strip())
        lines = done.stderr.strip().splitlines()
        assert "Traceback" not in done.stderr and len(lines[-1]) < 400, done.stderr
        return lines[-1]

    return run


def blobs(tmp_path: Path) -> list[bytes]:
    """All that the cache holds."""
    return [path.read_bytes() for path in (tmp_path / "hf_home").glob("hub/models--*/blobs/*")]


def test_a_model_is_downloaded_completely_and_only_once(hub, get):
    commit = hub.commit("org/name", FILES)
    folder = get()
    assert folder.name == commit and {name: (folder / name).read_bytes() for name in FILES} == FILES
    asked = len(hub.asked)
    assert get() == folder
    assert not [line for line in hub.asked[asked:] if "resolve" in line or "cdn" in line]


def test_an_old_revision_and_one_that_does_not_exist(hub, get):
    first = hub.commit("org/name", FILES)
    hub.commit("org/name", {"model_index.json": b"{}"})
    repository = hub.repositories["org/name"]
    assert json.loads((get() / "model_index.json").read_text()) == {}
    repository.files |= FILES  # the server keeps the last files alone
    assert get(options={"revision": first}).name == first
    assert get(options={"revision": "v9"}).endswith(
        "and the Hub has it, but not that revision: look at its page for branches and tags"
    )


def test_emo_infer_fails_with_one_line_and_no_file(hub, fresh, portrait_path, sound_path, tmp_path):
    hub.commit("org/name", FILES)
    command = [sys.executable, "-m", "emo.cli.infer", str(portrait_path), str(sound_path), "--face", "full"]
    done = fresh([*command, "-o", "out.mp4", "--model", "org/name", "--revision", "v9"])
    assert done.returncode == 2 and not (tmp_path / "out.mp4").exists()
    line = "emo-infer: --model org/name --revision v9: no such folder, and the Hub has it, but not that revision"
    assert done.stderr.splitlines()[-1].startswith(line), done.stderr


def test_of_a_model_with_adapters_only_these_are_downloaded(hub, fresh):
    hub.commit("org/name", FILES | {"lora/adapter_config.json": b"{}", "lora/adapter_model.safetensors": b"weights"})
    done = fresh("from emo.hub.resolve import find_lora; print(find_lora('org/name'))")
    folder = Path(done.stdout.strip())
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert folder.name == "lora" and not (folder.parent / "model_index.json").exists()


def test_another_cache_folder(hub, get, tmp_path):
    hub.commit("org/name", FILES)
    folder = get(options={"cache_dir": str(tmp_path / "own")})
    assert folder.is_relative_to(tmp_path / "own") and not blobs(tmp_path)


def test_an_unknown_name_a_private_one_and_a_wrong_token(hub, get, token):
    hub.commit("org/private", FILES)
    hub.repositories["org/private"].private = True
    for name in ("org/none", "org/private"):
        assert get(name).startswith("emo-infer: --model org/name: no such folder, and the Hub finds no such model")
    assert "finds no such model" in get("org/none", token)
    assert "does not know your token" in get("org/private", "hf_wrong")
    assert get("org/private", token).is_dir()


def test_a_gated_model(hub, get, tmp_path):
    hub.commit("org/name", FILES)
    hub.repositories["org/name"].gated = True
    assert f"the Hub requires its terms to be accepted: accept them on its page at {hub.url}" in get()
    assert not blobs(tmp_path)


def test_without_network_the_cache_is_used(hub, get):
    hub.commit("org/name", FILES)
    with socket.socket() as taken:  # bound, not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert f"the Hub at {nobody} can't be reached: check the network" in get(HF_ENDPOINT=nobody)
        assert "as HF_HUB_OFFLINE is set" in get(HF_HUB_OFFLINE="1")
        folder = get()
        assert get(HF_ENDPOINT=nobody) == get(HF_HUB_OFFLINE="1") == folder


def test_a_broken_download_resumes(hub, get):
    content = os.urandom(24 << 20)  # the client takes 10 MiB at once
    hub.commit("org/name", FILES | {LARGE: content})
    hub.cuts["weights.safetensors"] = 1
    assert (get() / LARGE).read_bytes() == content
    assert [line for line in hub.asked if line.endswith(f"bytes={10 << 20}-")]


def test_a_download_that_never_completes_leaves_no_partial_file(hub, get, tmp_path):
    content = b"\x01"  # half of it is nothing, so that no try gets on
    hub.commit("org/name", FILES | {LARGE: content})
    hub.cuts["weights.safetensors"] = 99
    assert "the Hub broke off on the way" in get()
    assert content not in blobs(tmp_path) and b"" not in blobs(tmp_path)
    hub.cuts.clear()
    assert (get() / LARGE).read_bytes() == content


def test_a_blob_that_is_a_link_is_verified_by_its_own_name(hub, get, tmp_path):
    """The client may keep large files in one place for all models, under other names, with links from the blobs."""
    hub.commit("org/name", FILES)
    folder = get()
    blob, shared = (folder / LARGE).resolve(), tmp_path / ("a" * 64)
    blob.rename(shared)
    blob.symlink_to(shared)
    (folder.parents[1] / "emo_checked").unlink()
    assert get() == folder
    shared.write_bytes(FILES[LARGE][:-1] + b"?")
    assert "is damaged" in get() and not shared.exists()
    assert (get() / LARGE).read_bytes() == FILES[LARGE]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_detected_and_removed(hub, get, tmp_path, name):
    hub.commit("org/name", FILES)
    hub.damaged.add(Path(name).name)
    assert get().endswith(f"what the Hub sent of {Path(name).name} is damaged: run the same again")
    assert not [content for content in blobs(tmp_path) if content not in FILES.values()]
    hub.damaged.clear()
    assert (get() / name).read_bytes() == FILES[name]
