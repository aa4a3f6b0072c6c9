"""The ComfyUI nodes in both schemas, loaded as ComfyUI loads custom nodes, and run along the example workflow."""

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
WIDGETS = {"STRING": str, "INT": int, "FLOAT": (int, float), "BOOLEAN": bool}


def load_file(path: Path, name: str, **options):
    spec = importlib.util.spec_from_file_location(name, path, **options)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_nodes(folder: Path) -> tuple[dict, dict]:
    """Classes and names by node id, as `load_custom_node` of ComfyUI's nodes.py finds them."""
    name = str(folder).replace(".", "_x_")
    for known in [known for known in sys.modules if known.startswith(name)]:
        del sys.modules[known]
    module = load_file(folder / "__init__.py", name)
    if getattr(module, "NODE_CLASS_MAPPINGS", None) is not None:
        return module.NODE_CLASS_MAPPINGS, module.NODE_DISPLAY_NAME_MAPPINGS
    nodes = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
    schemas = {node: node.GET_SCHEMA() for node in nodes}
    classes = {schema.node_id: node for node, schema in schemas.items()}
    return classes, {schema.node_id: schema.display_name for schema in schemas.values()}


@pytest.fixture(params=["V1", "V3"])
def nodes(request, monkeypatch):
    """(classes, names) of the pack in a ComfyUI without and with `comfy_api`."""
    if request.param == "V3":
        load_file(Path(__file__).parent / "comfy_api.py", "comfy_api_stand_in").install(monkeypatch)
    else:
        monkeypatch.setitem(sys.modules, "comfy_api", None)
    return load_nodes(FOLDER)


def run_node(node, **inputs) -> tuple:
    """The values of a node, run as ComfyUI runs it."""
    result = getattr(node(), node.FUNCTION)(**inputs)
    return result if isinstance(result, tuple) else result.result


def test_example_workflow_fits_the_nodes(nodes):
    classes, names = nodes
    workflow = json.loads((FOLDER / "example_workflow.json").read_text())
    found = [node for node in workflow.values() if node["class_type"] in classes]
    assert {node["class_type"] for node in found} == classes.keys() == names.keys()
    for node in found:
        inputs = classes[node["class_type"]].INPUT_TYPES()["required"]
        assert inputs.keys() == node["inputs"].keys()
        for name, (kind, options) in inputs.items():
            given = node["inputs"][name]
            assert isinstance(given, WIDGETS.get(kind, list))
            if "default" in options:
                assert given == options["default"]


def test_both_schemas_say_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "comfy_api", None)
    old, old_names = load_nodes(FOLDER)
    load_file(Path(__file__).parent / "comfy_api.py", "comfy_api_stand_in").install(monkeypatch)
    new, new_names = load_nodes(FOLDER)
    assert old_names == new_names and old.keys() == new.keys()
    for name, node in new.items():
        schema = node.GET_SCHEMA()
        assert node.INPUT_TYPES() == old[name].INPUT_TYPES() and schema.category == old[name].CATEGORY
        outputs = [(output.io_type, output.display_name) for output in schema.outputs]
        assert outputs == list(zip(old[name].RETURN_TYPES, old[name].RETURN_NAMES, strict=True))


def test_portrait_and_sound_become_frames(nodes, tiny_model_folder, portrait, wave):
    import torch

    classes, _ = nodes
    (model,) = run_node(classes["EMOLoadModel"], model=str(tiny_model_folder))
    model.to("cpu")
    image = torch.from_numpy(portrait).float()[None] / 255
    sound = {"waveform": torch.from_numpy(np.repeat(wave[:6400], 3))[None, None].repeat(1, 2, 1), "sample_rate": 48000}
    options = {"fps": 10.0, "seed": 3, "steps": 0, "guidance": 0.0, "full_face": True}
    inputs = {"model": model, "image": image, "audio": sound, **options}
    frames, audio, fps = run_node(classes["EMOTalkingPortrait"], **inputs)
    assert frames.shape == (4, 192, 192, 3) and frames.dtype == torch.float32 and 0 <= frames.min() <= frames.max() <= 1
    assert audio is sound and fps == 10.0
    assert torch.equal(frames, run_node(classes["EMOTalkingPortrait"], **inputs)[0])
