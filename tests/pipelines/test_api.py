"""EMOPipeline as a diffusers user drives it: the checks of diffusers' own pipeline tests, on the tiny pipeline.

diffusers' PipelineTesterMixin is not part of its wheel, so its checks are written out here.
"""

import inspect
import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.callbacks import PipelineCallback
from PIL import Image

from emo import EMOModel, EMOPipeline, EMOPipelineOutput
from emo.core.errors import InputError
from emo.face.crop import Region
from emo.face.selection import SelectedFace

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector
FRAME = 640  # samples at 25 fps


@pytest.fixture
def pipeline(make_pipeline) -> EMOPipeline:
    """A pipeline of its own, to change."""
    return make_pipeline()


@pytest.fixture
def call(portrait, wave):
    """call(pipeline, seed, frames, **options) -> the frames of a video."""

    def run(pipeline: EMOPipeline, seed: int = 0, frames: int = 8, **options):
        given = {"face": FACE, "crop_only": True, "generator": torch.Generator().manual_seed(seed)} | options
        return pipeline(portrait, wave[: frames * FRAME], **given).frames

    return run


def test_the_signature_names_every_argument():
    for method in (EMOPipeline.__call__, EMOPipeline.stream):
        parameters = inspect.signature(method).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds
        assert list(parameters)[:3] == ["self", "image", "audio"]
    wanted = {"num_inference_steps", "guidance_scale", "generator", "latents", "output_type", "return_dict"}
    wanted |= {"callback_on_step_end", "callback_on_step_end_tensor_inputs"}
    assert wanted <= set(inspect.signature(EMOPipeline.__call__).parameters)


def test_the_same_call_gives_the_same_frames(tiny_pipeline, call):
    first, second, other = call(tiny_pipeline), call(tiny_pipeline), call(tiny_pipeline, seed=1)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_return_dict(tiny_pipeline, portrait, wave):
    options = {"face": FACE, "crop_only": True, "num_inference_steps": 1}
    given = portrait, wave[: 2 * FRAME]
    as_class = tiny_pipeline(*given, generator=torch.Generator().manual_seed(0), **options)
    as_tuple = tiny_pipeline(*given, generator=torch.Generator().manual_seed(0), return_dict=False, **options)
    assert isinstance(as_class, EMOPipelineOutput) and isinstance(as_tuple, tuple) and len(as_tuple) == 1
    np.testing.assert_array_equal(as_class.frames, as_tuple[0])


def test_output_types_show_the_same_frames(tiny_pipeline, call):
    frames = call(tiny_pipeline, frames=3)
    assert frames.dtype == np.uint8 and frames.shape == (3, 64, 64, 3)
    pictures = call(tiny_pipeline, frames=3, output_type="pil")
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    np.testing.assert_array_equal(np.stack(pictures), frames)
    tensors = call(tiny_pipeline, frames=3, output_type="pt")
    assert tensors.shape == (3, 3, 64, 64) and tensors.dtype == torch.float32
    np.testing.assert_array_equal((tensors * 255).round().permute(0, 2, 3, 1).numpy(), frames)
    latents = call(tiny_pipeline, frames=3, output_type="latent")
    assert latents.shape == (3, 4, 4, 4)
    with torch.no_grad():
        decoded = tiny_pipeline.vae.decode(latents / tiny_pipeline.vae.config.scaling_factor).sample
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(expected, frames)
    with pytest.raises(InputError, match="output_type='jpg': give np, pil, pt or latent"):
        call(tiny_pipeline, output_type="jpg")


def test_image_and_audio_may_be_files(tiny_pipeline, portrait, portrait_path, sound_path):
    from emo.media.audio import read_audio

    options = {"face": FACE, "crop_only": True, "num_inference_steps": 1, "fps": 5.0}
    runs = [
        (portrait_path, sound_path),
        (str(portrait_path), str(sound_path)),
        (portrait, read_audio(sound_path, 16000)),
    ]
    first, *others = (tiny_pipeline(*given, generator=torch.manual_seed(0), **options).frames for given in runs)
    assert len(first) == 10
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_audio_may_be_a_tensor_or_chunks(tiny_pipeline, portrait, wave, call):
    expected, options = call(tiny_pipeline), {"face": FACE, "crop_only": True}
    for audio in (torch.from_numpy(wave[: 8 * FRAME]), iter(np.array_split(wave[: 8 * FRAME], 3))):
        made = tiny_pipeline(portrait, audio, generator=torch.Generator().manual_seed(0), **options).frames
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("image", "audio", "message"),
    [
        (np.zeros((64, 64), np.uint8), np.zeros(FRAME, np.float32), "image has shape"),
        (np.zeros((64, 64, 3), np.float32), np.zeros(FRAME, np.float32), "image has shape .* give .* uint8"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((2, FRAME), np.float32), "audio has shape .*: give mono samples"),
    ],
)
def test_arrays_of_another_shape_are_refused(tiny_pipeline, image, audio, message):
    with pytest.raises(InputError, match=message):
        tiny_pipeline(image, audio, face="full")


def test_latents_in_are_the_noise_of_the_first_windows(tiny_pipeline, call):
    """Windows of 6 frames: 8 frames are two windows."""
    drawn = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 6, 4, 4, 4, generator=drawn)
    expected = call(tiny_pipeline)
    np.testing.assert_array_equal(call(tiny_pipeline, generator=drawn, latents=noise), expected)
    both = torch.cat([noise, torch.randn(1, 6, 4, 4, 4, generator=torch.Generator().manual_seed(5))])
    changed = call(tiny_pipeline, latents=both)
    np.testing.assert_array_equal(changed[:6], expected[:6])
    assert (changed[6:] != expected[6:]).any()
    np.testing.assert_array_equal(call(tiny_pipeline, seed=9, latents=both), changed)
    with pytest.raises(InputError, match=r"latents have shape \(1, 6, 4, 8, 8\) for a window, give \(1, 6, 4, 4, 4\)"):
        call(tiny_pipeline, latents=torch.zeros(1, 6, 4, 8, 8))


def test_the_callback_sees_every_step_and_only_known_tensors(tiny_pipeline, call):
    steps = []

    def record(pipe, step, timestep, tensors):
        assert pipe is tiny_pipeline and set(tensors) == {"latents"} and pipe.num_timesteps == 3
        steps.append((step, int(timestep), tuple(tensors["latents"].shape)))
        return tensors

    expected = call(tiny_pipeline, num_inference_steps=3)
    made = call(tiny_pipeline, num_inference_steps=3, callback_on_step_end=record)
    np.testing.assert_array_equal(made, expected)
    assert [step for step, *_ in steps] == [0, 1, 2] * 2 and steps[0][2] == (1, 6, 4, 4, 4)
    assert steps[0][1] > steps[1][1] > steps[2][1]
    without = []
    call(
        tiny_pipeline, callback_on_step_end_tensor_inputs=[], callback_on_step_end=lambda *a: without.append(a[3]) or {}
    )
    assert without == [{}] * 4
    with pytest.raises(InputError, match="callback_on_step_end_tensor_inputs: 'prompt', only latents is known"):
        call(tiny_pipeline, callback_on_step_end_tensor_inputs=["prompt"])


def test_a_callback_changes_the_latents(tiny_pipeline, call):
    def clear(pipe, step, timestep, tensors):
        last = step == pipe.num_timesteps - 1
        return {"latents": torch.zeros_like(tensors["latents"])} if last else tensors

    latents = call(tiny_pipeline, callback_on_step_end=clear, output_type="latent")
    assert (latents == latents[0]).all()  # zeros are no difference to the portrait
    assert (call(tiny_pipeline, output_type="latent") != latents).any()


def test_diffusers_callback_classes_work(tiny_pipeline, call):
    class Scale(PipelineCallback):
        tensor_inputs = ["latents"]

        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            return {"latents": callback_kwargs["latents"] * 0}

    latents = call(tiny_pipeline, callback_on_step_end=Scale(), output_type="latent")
    assert (latents == latents[0]).all()


def test_an_interrupt_ends_the_video_with_its_window(tiny_pipeline, call):
    seen = []

    def stop(pipe, step, timestep, tensors):
        seen.append(step)
        pipe._interrupt = len(seen) == 1
        return tensors

    assert len(call(tiny_pipeline, frames=20, num_inference_steps=3, callback_on_step_end=stop)) == 6
    assert seen == [0]
    assert len(call(tiny_pipeline, frames=8)) == 8  # the next call starts anew


SCHEDULERS = [DDIMScheduler, UniPCMultistepScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.__name__)
def test_schedulers_swap_by_their_config(pipeline, call, scheduler, prediction_type):
    config = dict(pipeline.scheduler.config) | {"prediction_type": prediction_type, "rescale_betas_zero_snr": False}
    pipeline.scheduler = scheduler.from_config(config)
    first, again = (call(pipeline, num_inference_steps=3, output_type="latent") for _ in range(2))
    assert first.isfinite().all() and first.shape == (8, 4, 4, 4) and torch.equal(first, again)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.__name__)
def test_every_scheduler_comes_to_what_a_perfect_model_predicts(make_pipeline, call, monkeypatch, scheduler):
    """A model that always predicts the same clean latents, whatever the noise: there every scheduler must arrive."""
    pipeline = make_pipeline(residual_scale=None)
    config = dict(pipeline.scheduler.config) | {"rescale_betas_zero_snr": False}
    pipeline.scheduler = scheduler.from_config(config)
    clean = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(EMOModel, "forward", lambda self, sample, *rest: clean.expand_as(sample))
    made = call(pipeline, frames=6, num_inference_steps=8, output_type="latent")
    torch.testing.assert_close(made, clean[0].expand_as(made), atol=0.05, rtol=0)


def test_eta_adds_noise_where_the_scheduler_knows_it(tiny_pipeline, call):
    assert (call(tiny_pipeline, eta=1.0) != call(tiny_pipeline)).any()


def test_save_load_and_scheduler_of_another_class(pipeline, call, tmp_path):
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    expected = call(pipeline)
    pipeline.save_pretrained(tmp_path)
    loaded = EMOPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.scheduler, EulerDiscreteScheduler)
    np.testing.assert_array_equal(call(loaded), expected)


def test_settings_survive_saving(pipeline, tmp_path):
    settings = {"size": 128, "num_inference_steps": 7, "guidance_scale": 2.5, "guidance_threshold": 0.5}
    settings |= {"overlap_frames": 2, "color_limit_radius": 0.1}
    EMOPipeline(**pipeline.components, **settings).save_pretrained(tmp_path)
    loaded = EMOPipeline.from_pretrained(tmp_path, guidance_scale=1.5)
    assert {name: loaded.config[name] for name in settings} == settings | {"guidance_scale": 1.5}


def test_dtypes_by_component(tiny_model_folder, call):
    loaded = EMOPipeline.from_pretrained(tiny_model_folder, torch_dtype=torch.bfloat16)
    assert {part.dtype for part in (loaded.model, loaded.vae, loaded.audio_encoder)} == {torch.bfloat16}
    dtypes = {"model": torch.bfloat16, "default": torch.float32}
    mixed = EMOPipeline.from_pretrained(tiny_model_folder, torch_dtype=dtypes)
    assert mixed.model.dtype == torch.bfloat16 and mixed.vae.dtype == torch.float32
    for pipeline in (loaded, mixed):
        pipeline.set_progress_bar_config(disable=True)
        assert call(pipeline).shape == (8, 64, 64, 3)


def test_to_changes_every_component(pipeline, call):
    expected = call(pipeline).astype(int)
    pipeline.to(dtype=torch.float64)
    assert pipeline.model.dtype == torch.float64
    assert abs(call(pipeline, generator=torch.Generator().manual_seed(0)).astype(int) - expected).mean() < 60
    pipeline.to(dtype=torch.float32)
    np.testing.assert_array_equal(call(pipeline), expected)


def test_a_variant_is_saved_and_loaded(pipeline, call, tmp_path):
    pipeline.save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "model" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    loaded = EMOPipeline.from_pretrained(tmp_path, variant="fp16")
    loaded.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(call(loaded), call(pipeline))


def test_a_component_may_be_passed(tiny_model_folder, pipeline):
    loaded = EMOPipeline.from_pretrained(tiny_model_folder, vae=pipeline.vae)
    assert loaded.vae is pipeline.vae


def test_a_built_in_name_and_its_strictness():
    assert EMOPipeline.from_pretrained("mini").config.size == 512
    with pytest.raises(InputError, match="model=nothing is not a model: give a folder"):
        EMOPipeline.from_pretrained("nothing")
    with pytest.raises(InputError, match="revision=v1: model=mini is a local folder"):
        EMOPipeline.from_pretrained("mini", revision="v1")


def test_hub_options_reach_the_hub(monkeypatch, tiny_model_folder):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **options: asked.append((name, options)) or tiny_model_folder
    )
    options = {"revision": "v2", "cache_dir": "here", "token": "t", "local_files_only": True, "force_download": True}
    assert EMOPipeline.from_pretrained("owner/name", **options).config.size == 64
    assert asked == [("owner/name", options)]


@pytest.mark.parametrize("enable", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offload_gives_the_same_frames(make_pipeline, call, monkeypatch, enable):
    """accelerate's hooks, with the CPU as the device that models are moved to."""
    import accelerate

    offload, cpu = accelerate.cpu_offload, torch.device("cpu")  # diffusers gives cpu:0, which no tensor says it is on
    monkeypatch.setattr(accelerate, "cpu_offload", lambda model, device, **options: offload(model, cpu, **options))
    pipeline = make_pipeline()
    expected = call(pipeline, guidance_scale=2.0)
    getattr(pipeline, enable)(device="cpu")
    assert pipeline._execution_device.type == "cpu"
    hooked = [module for module in pipeline.model.modules() if hasattr(module, "_hf_hook")]
    assert hooked
    if enable == "enable_sequential_cpu_offload":  # weights are only there while their layer runs
        assert {parameter.device.type for parameter in pipeline.model.parameters()} == {"meta"}
    for _ in range(2):  # a second call finds the hooks again
        np.testing.assert_array_equal(call(pipeline, guidance_scale=2.0), expected)


def test_model_offload_loads_every_model_through_its_hook(make_pipeline, call, monkeypatch):
    from accelerate.hooks import CpuOffload

    pipeline, loaded, run = make_pipeline(), [], CpuOffload.pre_forward
    pipeline.enable_model_cpu_offload(device="cpu")
    names = {id(getattr(pipeline, name)): name for name in ("model", "vae", "audio_encoder")}

    def record(hook, module, *args, **kwargs):
        loaded.append(names[id(module)])
        return run(hook, module, *args, **kwargs)

    monkeypatch.setattr(CpuOffload, "pre_forward", record)
    freed, free = [], pipeline.maybe_free_model_hooks
    monkeypatch.setattr(pipeline, "maybe_free_model_hooks", lambda: freed.append(len(loaded)) or free())
    call(pipeline, frames=3)
    # the portrait encoded and decoded, its reference tokens, the audio
    assert loaded[:4] == ["vae", "vae", "model", "audio_encoder"] and loaded[-1] == "vae"
    assert freed == [len(loaded)]  # once, at the end


def test_class_names_and_module_homes_of_saved_pipelines(tiny_model_folder):
    """A saved pipeline names the modules of its classes: moving one breaks every saved pipeline."""
    index = json.loads((tiny_model_folder / "model_index.json").read_text())
    homes = {
        "_class_name": "EMOPipeline",
        "model": ["emo.models.emo", "EMOModel"],
        "vae": ["emo.models.autoencoder", "Autoencoder"],
        "audio_encoder": ["emo.models.audio", "MelEncoder"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    assert {name: index[name] for name in homes} == homes
    from emo.models.hallo import HalloModel

    assert (HalloModel.__module__, HalloModel.__name__) == ("emo.models.hallo", "HalloModel")
