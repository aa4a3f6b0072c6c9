"""emo-convert makes a pipeline's folder of published parts; a wrong part gives one line and no folder."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emo.cli.convert import main
from emo.core.errors import InputError
from emo.face.crop import Region
from emo.face.selection import SelectedFace
from emo.hub.convert.hallo import rename_key, rename_keys
from emo.hub.convert.pipeline import convert_hallo, find_parts, open_weights, save_sharded, split_by_size
from emo.hub.resolve import load_pipeline
from emo.models.autoencoder import decode_latents, encode_images
from emo.models.hallo import HalloModel
from emo.pipelines.hallo import HalloPipeline

PLACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))


@pytest.fixture(scope="module")
def folder(pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "hallo"
    convert_hallo(find_parts([pretrained]), out)
    return out


COMMAND = "emo-convert pretrained_models -o hallo"  # of docs/published-models.md


def test_emo_convert_names_the_licenses_and_writes_the_folder(run_main, pretrained, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("pretrained_models").symlink_to(pretrained)
    code, said, _ = run_main(main, *COMMAND.split())
    out = Path("hallo")
    lines = said.splitlines()
    assert code == 0 and len(lines) == 5 and lines[-1].endswith(f"--model {out}")
    assert "net.pth: Hallo and Hallo2: MIT" in lines[0] and "OpenRAIL-M" in lines[0]
    assert "sd-vae-ft-mse: MIT" in lines[1] and "wav2vec2-base-960h: Apache-2.0" in lines[2]
    assert "non-commercial" in lines[3] and "--arcface" in lines[3] and "commercial use" in lines[3]
    files = {path.relative_to(out).parts[0] for path in out.rglob("*")}
    assert files == {"model_index.json", "model", "vae", "audio_encoder", "scheduler"}
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    assert {path.name for path in Path.cwd().iterdir()} == {"hallo", "pretrained_models"}
    code, _, error = run_main(main, "emo-convert", pretrained, "-o", out)
    assert code == 2 and f"{out} exists" in error


def test_the_converted_pipeline_depends_on_audio_and_identity(folder, portrait, wave):
    pipeline = load_pipeline(str(folder), "cpu")
    pipeline.set_progress_bar_config(disable=True)
    assert (
        pipeline.scheduler.config.prediction_type == "v_prediction" and pipeline.scheduler.config.rescale_betas_zero_snr
    )
    assert pipeline.config.guide_identity and pipeline.config.reencode_motion
    assert pipeline.model.config.num_motion_frames == 2 and pipeline.model.config.num_frames == 16

    def make(wave: np.ndarray, **options) -> np.ndarray:
        options |= {"face": PLACE, "size": 64, "num_inference_steps": 2, "generator": torch.Generator().manual_seed(0)}
        return pipeline(portrait, wave, crop_only=True, **options).frames

    frames = make(wave[: 18 * 640])  # windows of 16 and 2 frames
    assert frames.shape == (18, 64, 64, 3) and np.array_equal(frames, make(wave[: 18 * 640]))
    assert not np.array_equal(frames, make(np.zeros_like(wave[: 18 * 640])))
    assert not np.array_equal(frames, make(wave[: 18 * 640], identity=np.ones(512, np.float32)))


def test_every_weight_is_converted_under_its_name(folder, net):
    written = load_file(folder / "model" / "diffusion_pytorch_model.safetensors")
    names = rename_keys(list(net))
    assert set(written) == set(names.values()) and len(net) - len(names) > 20
    for name in ("audioproj.proj2.bias", "denoising_unet.conv_in.weight", "imageproj.norm.bias"):
        assert torch.equal(written[rename_key(name)], net[name].half())
    mixed = "denoising_unet.mid_block.audio_modules.0.transformer_blocks.0.zero_conv_lip.weight"
    assert torch.equal(written[rename_key(mixed)], net[mixed].half()[:, :, 0, 0])


@torch.no_grad()
def test_motion_frames_are_decoded_and_encoded_again(folder):
    pipeline, portrait = load_pipeline(str(folder), "cpu"), torch.randn(1, 4, 8, 8)
    window, square = torch.randn(1, 5, 4, 8, 8), torch.zeros(1, 3, 64, 64)
    pictures = decode_latents(pipeline.vae, window[0, -2:]).clamp(-1, 1)
    assert torch.allclose(
        pipeline._next_motion(portrait, None, window, square)[0], encode_images(pipeline.vae, pictures), atol=1e-5
    )
    assert torch.equal(
        pipeline._next_motion(portrait, None, window[:, :1], square)[0, 0], portrait[0]
    )  # before the first window


@pytest.mark.parametrize(("trained", "strengths"), [(True, [[3, 2, 4]] * 2), (False, [[1, 1, 1], [3, 2, 4]])])
def test_in_evaluation_mode_regions_are_scaled_only_in_the_middle(pretrained, tmp_path, trained, strengths):
    convert_hallo(find_parts([pretrained]), tmp_path / "hallo", trained)
    parts = load_pipeline(str(tmp_path / "hallo"), "cpu").components
    pipeline = HalloPipeline(**parts, pose_weight=3.0, face_weight=2.0, lip_weight=4.0)
    still = pipeline._encode_portrait(torch.zeros(1, 4, 8, 8), PLACE, None)
    assert still.audio_regions.scales[0].tolist() == strengths
    assert [mask.shape for mask in still.audio_regions.masks] == [(1, 3, 8, 8), (1, 3, 4, 4)]
    assert still.face_region.shape == (1, 1, 64, 64) and torch.equal(still.identity, torch.zeros(1, 512))


def test_the_square_is_wider_than_that_of_emo(folder, portrait, wave):
    pipeline = load_pipeline(str(folder), "cpu")
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(portrait, wave[:1280], face=PLACE, size=64, num_inference_steps=1).frames
    rows = np.flatnonzero((frames != portrait).any((0, 2, 3)))
    half = 1.25 * PLACE.region.side / 2
    assert PLACE.region.center[1] - half <= rows.min() < PLACE.region.center[1] - PLACE.region.side / 2


class Evil:
    """Unpickled as pickles are it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def spoilt(net, pretrained, folder, weights):
    """Sources whose net.pth holds these weights."""
    torch.save(weights, folder / "net.pth")
    return [folder / "net.pth", pretrained / "sd-vae-ft-mse", pretrained / "wav2vec"]


@pytest.mark.parametrize("kind", ["code", "broken", "list", "number"])
def test_a_file_with_more_than_weights_is_refused_unread(run_main, net, pretrained, tmp_path, kind):
    mark, path = tmp_path / "mark", tmp_path / "net.pth"
    held = {"code": net | {"extra": Evil(mark)}, "list": [1], "number": net | {"step": 3}, "broken": net}
    sources = spoilt(net, pretrained, tmp_path, held[kind])
    if kind == "broken":
        path.write_bytes(path.read_bytes()[:5000])
    code, _, error = run_main(main, "emo-convert", *sources, "-o", tmp_path / "out")
    wanted = {"code": "is refused: it holds more than tensors", "number": "holds no tensor in 'step'"}
    assert code == 2 and error.count("\n") == 1 and str(path) in error
    assert wanted.get(kind, "is not a file of weights") in error
    assert not mark.exists() and set(tmp_path.iterdir()) == {path}


def test_missing_and_unexpected_names_are_reported(run_main, net, pretrained, tmp_path):
    name = "denoising_unet.mid_block.audio_modules.0.norm.bias"
    cases = {
        "lacks what would become 'unet.mid_block.audio_modules.0.norm.bias'": {
            k: v for k, v in net.items() if k != name
        },
        "has 'denoising_unet.extra.weight':": net | {"denoising_unet.extra.weight": torch.ones(1)},
        "has of another shape 'denoising_unet.mid_block.audio_modules.0.norm.bias'": net | {name: torch.ones(7)},
        "not a net.pth of Hallo or Hallo2: it lacks": {"weight": torch.ones(1)},
    }
    for words, weights in cases.items():
        sources = spoilt(net, pretrained, tmp_path, weights)
        code, _, error = run_main(main, "emo-convert", *sources, "-o", tmp_path / "out")
        assert code == 2 and words in error and error.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_part_that_is_missing_or_ambiguous_is_reported(run_main, pretrained, tmp_path):
    code, _, error = run_main(main, "emo-convert", pretrained / "hallo" / "net.pth", "-o", tmp_path / "out")
    assert code == 2 and "the sources hold 0 of sd-vae-ft-mse (none): give one" in error
    torch.save({}, tmp_path / "net.pth")
    code, _, error = run_main(main, "emo-convert", pretrained, tmp_path / "net.pth", "-o", tmp_path / "out")
    assert code == 2 and "the sources hold 2 of Hallo and Hallo2" in error
    code, _, error = run_main(main, "emo-convert", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert code == 2 and "nowhere does not exist" in error


def test_large_models_are_sharded_and_load(folder, tmp_path):
    written = open_weights(folder / "model" / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "model" / "config.json").read_bytes())
    save_sharded(written, tmp_path, limit=1_000_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 2 and max(path.stat().st_size for path in files) < 1_100_000
    index = json.loads((tmp_path / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(written)
    loaded = HalloModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], written[name].float()) for name in written)


def test_shards_are_filled_in_order():
    sizes = {"a": 4, "b": 4, "c": 30, "d": 1, "e": 9}
    assert split_by_size(sizes, 10) == [["a", "b"], ["c"], ["d", "e"]]


def test_a_folder_without_parts_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="is not a file of weights"):
        open_weights(tmp_path)


def test_arcface_embeddings_reach_the_pipeline(run_main, folder, samples, sound_path, tmp_path):
    from emo.cli import infer
    from emo.face.selection import select_face
    from emo.generation import embed_face
    from emo.media.image import read_image
    from emo.metrics.identity import extract_features
    from emo.models.arcface import STAGE_DEPTHS, IResNet, load_arcface

    weights, image = tmp_path / "backbone.pth", read_image(samples / "portrait.png")
    torch.manual_seed(0)
    torch.save(IResNet(STAGE_DEPTHS[2]).state_dict(), weights)
    face = select_face(image, None)
    made = embed_face(weights, image, face)
    expected = extract_features(load_arcface(weights), image.transpose(2, 0, 1)[None], face.landmarks[None])[0]
    assert np.allclose(made / np.linalg.norm(made), expected, atol=1e-6) and made.shape == (512,)

    options = ["--arcface", weights, "--size", 64, "--steps", 1, "--duration", 0.1, "-o", tmp_path / "out.mp4"]
    given = [samples / "portrait.png", sound_path, *options]
    code, said, error = run_main(infer.main, "emo-infer", *given, "--model", folder)
    assert code == 0 and "2 frames" in said, error
    code, _, error = run_main(infer.main, "emo-infer", *given, "--overwrite")
    assert code == 2 and "identity: the model has no such condition; leave it out" in error
    code, _, error = run_main(infer.main, "emo-infer", *given, "--overwrite", "--face", "full")
    assert code == 2 and "--arcface needs a face that is detected" in error
