"""The ComfyUI nodes, loaded from their folder as ComfyUI loads custom nodes, and run along the example workflow."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
WIDGETS = {"STRING": str, "INT": int, "FLOAT": (int, float), "BOOLEAN": bool}


@pytest.fixture(scope="module")
def nodes():
    """The package as `load_custom_node` of ComfyUI's nodes.py imports it: by its folder, under a name of its path."""
    name = str(FOLDER).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_example_workflow_fits_the_nodes(nodes):
    workflow = json.loads((FOLDER / "example_workflow.json").read_text())
    for node in workflow.values():
        if node["class_type"] in nodes.NODE_CLASS_MAPPINGS:
            inputs = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()["required"]
            assert inputs.keys() == node["inputs"].keys()
            for name, (kind, *options) in inputs.items():
                given = node["inputs"][name]
                assert isinstance(given, WIDGETS.get(kind, list))
                if options:
                    assert given == options[0]["default"]
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS.keys() == nodes.NODE_CLASS_MAPPINGS.keys()


def test_portrait_and_sound_become_frames(nodes, tiny_model_folder, tiny_pipeline, portrait, wave):
    load, talk = (nodes.NODE_CLASS_MAPPINGS[name]() for name in ("EMOLoadModel", "EMOTalkingPortrait"))
    (model,) = getattr(load, load.FUNCTION)(model=str(tiny_model_folder))
    model.to("cpu")
    image = torch.from_numpy(portrait).float()[None] / 255
    sound = {"waveform": torch.from_numpy(np.repeat(wave[:6400], 3))[None, None].repeat(1, 2, 1), "sample_rate": 48000}
    options = {"fps": 10.0, "seed": 3, "steps": 0, "guidance": 0.0, "full_face": True}
    results = getattr(talk, talk.FUNCTION)(model=model, image=image, audio=sound, **options)
    assert len(results) == len(talk.RETURN_TYPES)
    frames, audio, fps = results
    assert frames.shape == (4, 192, 192, 3) and frames.dtype == torch.float32 and 0 <= frames.min() <= frames.max() <= 1
    assert audio is sound and fps == 10.0
    again = getattr(talk, talk.FUNCTION)(model=model, image=image, audio=sound, **options)[0]
    assert torch.equal(frames, again)
