"""The voice is separated from the music; it is then what is measured and trained on."""

import json
import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from soxr import resample

from emo.cli.prepare import main
from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.data.clip import load_clip
from emo.media.audio import read_audio
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.preparation.clips import PreparationJob
from emo.preparation.filters import ClipLimits
from emo.preparation.runner import prepare_videos
from emo.preparation.sound import VideoAudio
from emo.preparation.sources import Recipe, list_sources
from emo.speech.separation import fit_length, load_separator, load_vocal_separator, separate_vocals, singing_ratio
from emo.speech.voice_activity import speech_ratio

ANY_SYNC = "min_seconds=1", "min_lip_sync_confidence=-1", "max_lip_sync_offset_frames=15"
LIMITS = ClipLimits(min_seconds=1.0, min_speech_ratio=0.0, min_lip_sync_confidence=-1.0, max_lip_sync_offset_frames=15)


def band(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """A separator by hand: keeps 150 to 3,000 Hz, where there is a voice and no bed."""
    spectrum, hz = np.fft.rfft(wave), np.fft.rfftfreq(len(wave), 1 / sample_rate)
    return np.fft.irfft(spectrum * ((hz > 150) & (hz < 3000)), len(wave)).astype(np.float32)


def bed(count: int) -> np.ndarray:
    """(S,) at SAMPLE_RATE: drums and a hiss that swell while the buzz of `wave` is off."""
    t = np.arange(count) / SAMPLE_RATE
    hiss = np.random.default_rng(0).normal(size=count)
    hiss -= band(hiss, SAMPLE_RATE)
    return ((t % 0.5 >= 0.3) * (np.sin(2 * np.pi * 60 * t) + 0.3 * hiss)).astype(np.float32)


@pytest.fixture
def song(footage, wave, write_wav, tmp_path):
    """song(sound) -> the folder of a film of the drawn face, its mouth open while `wave` buzzes, under this sound."""

    def make(sound: np.ndarray):
        video, labels = footage()
        folder = tmp_path / "songs"
        folder.mkdir()
        write_wav(tmp_path / "song.wav", sound)
        with VideoWriter(folder / "head.mp4", 25, tmp_path / "song.wav") as writer:
            for frame in read_video(video):
                writer.write(frame)
        (folder / "head.safetensors").write_bytes(labels.read_bytes())
        return folder

    return make


def prepare(raw, out, by) -> int:
    job = PreparationJob(out, raw, 64, LIMITS, by)
    return prepare_videos(list_sources(raw, Recipe()), job, set(), None, 1, None)


def test_a_singer_before_a_band_is_heard_alone(song, wave, tmp_path):
    raw = song(0.5 * wave + 0.4 * bed(len(wave)))
    assert prepare(raw, tmp_path / "mixed", None) == 1
    assert len(load_clip(tmp_path / "mixed" / "head.json").vocals) == 0
    assert prepare(raw, tmp_path / "apart", band) == 1
    clip = load_clip(tmp_path / "apart" / "head.json")
    mixed, sung = read_audio(raw / "head.mp4", SAMPLE_RATE), band(0.5 * wave, SAMPLE_RATE)
    assert clip.voice is clip.vocals and clip.vocals.shape == clip.wave.shape and clip.vocals.dtype == np.float32
    assert np.corrcoef(clip.vocals, sung)[0, 1] > 0.98 and np.array_equal(clip.wave, mixed[: len(clip.wave)])
    music = np.square(0.4 * bed(len(wave))).sum()
    assert clip.info.music_ratio == pytest.approx(music / (music + np.square(sung).sum()), abs=0.05)
    assert clip.info.speech_ratio == pytest.approx(0.6, abs=0.05)  # 0.3 s of each 0.5


def test_a_voice_without_music_stays_as_it_is(song, wave, tmp_path):
    assert prepare(song(band(0.5 * wave, SAMPLE_RATE)), tmp_path / "clips", band) == 1
    clip = load_clip(tmp_path / "clips" / "head.json")
    assert clip.info.music_ratio < 0.05 and len(clip.vocals) == 0 and clip.voice is clip.wave


def test_how_much_music_is_music_may_be_said(sound_path):
    def half(wave, sample_rate):
        return wave / 2

    sound = VideoAudio(sound_path, half, 0.49).read(12, 25)
    assert sound.music_ratio == pytest.approx(0.5) and np.allclose(sound.voice, sound.wave / 2, atol=0.01)
    assert np.array_equal(VideoAudio(sound_path, half, 0.51).read(12, 25).voice, sound.wave)
    assert VideoAudio(sound_path).read(12, 25).music_ratio is None


def test_a_song_behind_drums_is_heard_as_a_voice_once_they_are_gone(samples, write_wav, tmp_path):
    song, rate = 0.2 * read_audio(samples / "song.wav", 44100)[: 4 * 44100], SAMPLE_RATE
    t = np.arange(4 * rate) / rate
    music = sum(np.sin(2 * np.pi * hz * t) for hz in (110, 164.8, 220, 277.2, 329.6)) / 5
    music += np.sin(2 * np.pi * 60 * t) * np.exp(-12 * (t % 0.5))
    music += 0.4 * np.random.default_rng(0).normal(size=len(t)) * np.exp(-40 * (t % 0.25))
    write_wav(tmp_path / "song.wav", resample(song, 44100, rate) + 2 * song.std() / music.std() * music)
    assert speech_ratio(read_audio(tmp_path / "song.wav", rate)) < 0.1
    assert (
        VideoAudio(tmp_path / "song.wav", lambda wave, _: fit_length(song, len(wave))).read(0, 100).speech_ratio > 0.5
    )


def test_where_vocals_hold_a_tenth_of_the_power_somebody_sings():
    wave = np.full(6400, 0.5, np.float32)
    vocals = np.repeat([0.2, 0.1, 0.0, 0.5, 0.17], 1280).astype(np.float32)
    assert singing_ratio(vocals, wave) == pytest.approx(3 / 5)
    assert singing_ratio(1e-3 * vocals, 1e-3 * wave) == singing_ratio(vocals[:0], wave[:0]) == 0  # silence; nothing


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny Hybrid Transformer Demucs with random weights, in the form of those on the Hub."""
    htdemucs = pytest.importorskip("demucs.htdemucs")
    torch.manual_seed(0)
    sources, options = ["drums", "vocals"], {"channels": 8, "depth": 2, "nfft": 512, "t_layers": 1, "t_heads": 2}
    given = options | {"segment": {"_type": "fraction", "numerator": 1, "denominator": 2}}
    net = htdemucs.HTDemucs(sources, **options, segment=0.5)
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps([sources]), "kwargs": json.dumps(given)}
    path = tmp_path_factory.mktemp("demucs") / "955717e8.safetensors"
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path, metadata)
    return path


def test_demucs_says_what_its_own_separator_says(weights, samples):
    from demucs.api import Separator

    net, wave = load_separator(str(weights)).cpu(), read_audio(samples / "song.wav", 44100)[:40000]
    theirs = Separator.__new__(Separator)  # its own loading reads pickles alone
    theirs._model, theirs._samplerate, theirs._audio_channels = net, net.samplerate, net.audio_channels
    theirs.update_parameter("cpu", shifts=0, split=True, overlap=0.25, segment=None, jobs=0, progress=False)
    theirs.update_parameter(callback=None, callback_arg=None)
    stems = theirs.separate_tensor(torch.from_numpy(wave).expand(2, -1))[1]
    vocals = separate_vocals(wave, 44100, str(weights))
    assert vocals.std() > 1e-3 and np.allclose(vocals, stems["vocals"].mean(0), atol=1e-5)
    assert np.array_equal(vocals, separate_vocals(wave, 44100, str(weights)))
    low = separate_vocals(read_audio(samples / "song.wav", 16000)[:14513], 16000, str(weights))
    assert low.shape == (14513,) and np.corrcoef(low, fit_length(resample(vocals, 44100, 16000), 14513))[0, 1] > 0.95
    assert load_separator(str(weights)) is net


def test_footage_is_prepared_with_demucs(weights, song, wave, tmp_path, run_main):
    raw, loose = song(0.5 * wave), ("min_speech_ratio=0", "min_music_ratio=0", "min_peak_db=-200", *ANY_SYNC)
    options = "--labels", raw, "--size", 64, "--workers", 1, "--vocals", weights, "--limits", *loose
    code, out, err = run_main(main, "emo-prepare", "videos", raw, tmp_path / "clips", *options)
    assert code == 0 and out.endswith("1 clips\n"), (out, err)
    clip = load_clip(tmp_path / "clips" / "head.json")
    assert clip.vocals.shape == clip.wave.shape and 0 < clip.info.music_ratio <= 1


def test_weights_that_can_not_be_had_are_one_line_with_the_mend(weights, tmp_path, run_main, monkeypatch):
    def refuse(*_):
        raise LocalEntryNotFoundError("no way to the Hub\nand more")

    def line(model) -> str:
        code, _, err = run_main(main, "emo-prepare", "videos", tmp_path, tmp_path / "clips", "--vocals", model)
        assert code == 2 and err.count("\n") == 1 and not (tmp_path / "clips").exists()
        return err

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    mend = "fetch 955717e8.safetensors from https://huggingface.co/adefossez/HTDemucs, give that file\n"
    assert line("htdemucs") == f"emo-prepare: --vocals htdemucs can't be loaded (no way to the Hub): {mend}"
    assert line(tmp_path / "x.safetensors").endswith(
        f"x.safetensors can't be loaded (No such file or directory: {tmp_path}/x.safetensors): {mend}"
    )
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:900])
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("cut", "other"):
        assert f"{name}.safetensors can't be loaded (" in line(tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match="separates drums, bass, no vocals: give htdemucs"):
        monkeypatch.setattr("demucs.hf.load_safetensors_model", lambda _: torch.nn.Module())
        monkeypatch.setattr(torch.nn.Module, "sources", ["drums", "bass"], raising=False)
        load_vocal_separator("rhythm.safetensors")


def test_without_demucs_the_extra_is_named(tmp_path, run_main, monkeypatch):
    monkeypatch.setitem(sys.modules, "demucs", None)
    monkeypatch.delitem(sys.modules, "demucs.hf", raising=False)
    load_separator.cache_clear()
    code, _, err = run_main(main, "emo-prepare", "videos", tmp_path, tmp_path / "clips", "--vocals", "htdemucs")
    assert code == 2 and err == "emo-prepare: demucs is missing: pip install 'emo-portrait[vocals]'\n"
