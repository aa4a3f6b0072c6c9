"""emo: make a portrait talk and sing (EMO, arXiv 2402.17485).

Everything is imported on first use, so that `emo-infer --help` answers at once. The component classes and
their bases are listed here because `DiffusionPipeline.from_pretrained` looks a component's class up in the
top-level package of the pipeline.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "EMOPipeline": "emo.pipelines.emo",
    "EMOPipelineOutput": "emo.pipelines.emo",
    "HalloPipeline": "emo.pipelines.hallo",
    "DubbingPipeline": "emo.dubbing.pipeline",
    "EMOModel": "emo.models.emo",
    "HalloModel": "emo.models.hallo",
    "Conditions": "emo.models.conditions",
    "Autoencoder": "emo.models.autoencoder",
    "MotionAutoencoder": "emo.models.motion_autoencoder",
    "MelEncoder": "emo.models.audio",
    "Wav2VecEncoder": "emo.models.audio",
    "FaceDetector": "emo.face.detector",
    "InputError": "emo.core.errors",
    "generate": "emo.generation",
    "load_pipeline": "emo.hub.resolve",
    "ModelMixin": "diffusers",
    "SchedulerMixin": "diffusers",
    "DiffusionPipeline": "diffusers",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'emo' has no attribute {name!r}")
