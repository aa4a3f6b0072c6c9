"""SyncNet says what the published code says of the same weights, and how late a sound is."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emo.core.errors import InputError
from emo.speech.syncnet import (
    EMBEDDING_DIM,
    SyncNet,
    SyncNetScorer,
    embed_audio,
    load_syncnet,
    mfcc,
    score_embeddings,
    score_syncnet,
)

# Said by the published code (joonson/syncnet_python@6efbb1c, python_speech_features 0.6) of `weights`, `faces`, `sound`
SAID = json.loads((Path(__file__).parent / "syncnet.json").read_text())
FRAMES = 10


def embed_faces(net: SyncNet, faces) -> torch.Tensor:
    scorer = SyncNetScorer(net)
    for face in faces:
        scorer.add(face)
    return scorer.embeddings()


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of made-up numbers, the same with every torch."""
    rng, state = np.random.RandomState(0), {}
    for name, old in sorted(net.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        new = rng.standard_normal(tuple(old.shape))
        if name.endswith("running_var"):
            new = 1 + np.abs(new)
        elif old.dim() == 1:
            new = 0.3 * new + name.endswith("weight")
        else:
            new *= np.sqrt(2 / np.prod(old.shape[1:])) / (40 if name == "netcnnlip.0.weight" else 1)
        if name in ("netfcaud.3.bias", "netfclip.3.bias"):
            new = np.cos(np.arange(EMBEDDING_DIM))  # one place for both, far from the zeros beyond the ends
        elif name in ("netfcaud.3.weight", "netfclip.3.weight"):
            new *= 0.02 if "aud" in name else 0.1
        state[name] = torch.from_numpy(new.astype(np.float32))
    return state


def faces() -> np.ndarray:
    """(FRAMES 224 224 3) uint8 RGB."""
    coarse = np.random.RandomState(1).randint(0, 256, (FRAMES, 14, 14, 3), np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


def sound() -> np.ndarray:
    """(S,) in steps of 16 bits, with a frame of silence in it and a piece of a frame over."""
    rng = np.random.RandomState(2)
    loud = (rng.rand(FRAMES + 1) ** 2).repeat(640)
    loud[1920:2560] = 0
    return (9000 * loud * rng.standard_normal(len(loud))).round().clip(-32768, 32767)[: FRAMES * 640 + 99]


def late_features() -> tuple[torch.Tensor, torch.Tensor]:
    """Seen and heard (40 16), the sound four frames late."""
    rng = np.random.RandomState(3)
    said, noise = rng.standard_normal((60, 16)), 0.3 * rng.standard_normal((40, 16))
    return torch.from_numpy(said[10:50]).float(), torch.from_numpy(said[6:46] + noise).float()


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> SyncNet:
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(weights(SyncNet()), path)
    return load_syncnet(path)


def test_cepstra_are_those_of_python_speech_features():
    said, heard = np.array(SAID["mfcc"]), mfcc(sound())
    assert heard.shape == (SAID["mfcc_windows"], 13)
    assert np.abs(heard[:: len(heard) // len(said)][: len(said)] - said).max() < 1e-6
    assert mfcc(np.zeros(100)).shape == (1, 13)


def test_embeddings_are_those_of_the_published_code(net):
    with torch.no_grad():
        seen, heard = embed_faces(net, faces()), embed_audio(net, sound() / 32768, FRAMES - 5)
    assert seen.shape == (FRAMES - 4, EMBEDDING_DIM) and heard.shape == (FRAMES - 5, EMBEDDING_DIM)
    for name, found in (("seen", seen[:-1]), ("heard", heard)):
        assert np.abs(found[:, ::128].numpy() - SAID[name]).max() < 1e-4


def test_offset_confidence_and_distance_are_those_of_the_published_code(net):
    sync = score_syncnet(net, iter(faces()), sound() / 32768)
    assert sync.offset_frames == -SAID["offset"]  # there it is positive when the sound is early
    assert sync.confidence == pytest.approx(SAID["confidence"], abs=1e-4)
    assert sync.distance == pytest.approx(SAID["distance"], abs=1e-4)


def test_so_they_are_of_a_sound_that_is_late():
    seen, heard = late_features()
    sync = score_embeddings(seen, heard)
    assert (sync.offset_frames, SAID["late"]["offset"]) == (4, -4)
    assert sync.confidence == pytest.approx(SAID["late"]["confidence"], abs=1e-4)
    assert sync.distance == pytest.approx(SAID["late"]["distance"], abs=1e-4)


def test_pieces_of_a_long_face_are_the_whole(net, monkeypatch):
    with torch.no_grad():
        whole = embed_faces(net, faces()[:8])
        for size in (2, 3, 7):
            monkeypatch.setattr("emo.speech.syncnet.BATCH", size)
            parts = embed_faces(net, faces()[:8])
            assert parts.shape == whole.shape and (parts - whole).abs().max() < 1e-5


@pytest.mark.parametrize("late", [-12, -1, 0, 4])
def test_the_offset_is_how_late_the_sound_is(late):
    said = torch.randn(100, 8, generator=torch.manual_seed(0))
    seen, heard = said[20:80], said[20 - late : 80 - late]
    sync = score_embeddings(seen, heard)
    alone = seen[60 - late :] if late > 0 else seen[:-late]  # what is seen and no longer, or not yet, heard
    assert sync.offset_frames == late
    assert sync.distance == pytest.approx(float(alone.norm(dim=1).sum() / 60), abs=1e-4)
    assert sync.distance + sync.confidence == pytest.approx(4, abs=0.5)  # strangers: the root of 2 * 8


def test_too_few_frames_are_an_error(net):
    with pytest.raises(InputError, match="SyncNet needs 6 frames and their sound; 5 are there"):
        score_syncnet(net, faces()[:5], sound() / 32768)
    with pytest.raises(InputError, match="SyncNet needs 6 frames"):
        score_syncnet(net, [], np.zeros(640))


def test_a_file_that_is_not_its_weights_is_an_error_and_no_code_in_it_runs(net, tmp_path):
    state = net.state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    assert torch.equal(load_syncnet(tmp_path / "whole.safetensors").netfclip[3].weight, state["netfclip.3.weight"])

    class Code:
        def __reduce__(self):
            return (tmp_path / "run").touch, ()

    lacking = {name: value for name, value in state.items() if not name.startswith("netfclip.3")}
    save_file(lacking, tmp_path / "lacking.safetensors")
    torch.save({"net": 1}, tmp_path / "other.model")
    (tmp_path / "code.model").write_bytes(pickle.dumps(Code(), 2))
    (tmp_path / "text.model").write_text("<!doctype html>")
    for name, reason in [
        ("lacking.safetensors", 'Missing key.*"netfclip.3.weight"'),
        ("other.model", "Missing key"),
        ("code.model", "not a torch.save of weights alone"),
        ("text.model", "not a torch.save of weights alone"),
        ("none.model", "No such file"),
    ]:
        with pytest.raises(InputError, match=f"{name} can't be loaded as SyncNet .*{reason}.*get syncnet_v2") as error:
            load_syncnet(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
