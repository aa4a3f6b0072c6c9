"""Every Python block of the documents compiles, imports what exists, calls with known parameters, and runs."""

import ast
import importlib
import inspect

import pytest

import emo

AGENTS = {"livekit": "livekit.agents", "pipecat": "pipecat"}  # extras of 50 packages and more, which `dev` leaves out


def test_block_imports_what_exists(block):
    for package, module in AGENTS.items():
        if f"import {package}" in block.text or f"from {package}" in block.text:
            pytest.importorskip(module)
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{block}: {node.module} has no {missing}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "emo":
            assert hasattr(emo, node.attr), f"{block}: emo has no {node.attr}"


def test_block_calls_the_pipeline_with_known_parameters(block):
    """Also where it does not run: a pipeline is called `pipe` in all of them."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call) and (function := called(node.func)):
            known = inspect.signature(function).parameters
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
                unknown = {keyword.arg for keyword in node.keywords} - known.keys()
                assert not unknown, f"{block}: {ast.unparse(node.func)} has no parameter {unknown}"


def called(node: ast.expr):
    """What `pipe(...)`, `pipe.stream(...)` or `emo.generate(...)` calls; None for anything else."""
    if isinstance(node, ast.Name):
        return {"pipe": emo.EMOPipeline.__call__, "generate": getattr(emo, "generate", None)}.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = {"pipe": emo.EMOPipeline, "EMOPipeline": emo.EMOPipeline, "emo": emo}.get(node.value.id)
        return owner and getattr(owner, node.attr)
    return None


def test_every_parameter_of_a_call_is_documented(documents):
    for function in (emo.EMOPipeline.__call__, emo.EMOPipeline.stream, emo.generate):
        names = [
            name for name in inspect.signature(function).parameters if name not in {"self", "cls", "options", "kwargs"}
        ]
        assert not [name for name in names if f"`{name}`" not in documents["docs/python-api.md"]]


def test_blocks_run(document, python_pages, reader_folder):
    """The blocks of a page run one after the other, as a reader would try them, on a quarter of a second of sound."""
    (reader_folder / "song.wav").write_bytes((reader_folder / "datasets" / "samples" / "song.wav").read_bytes())
    names: dict = {"__name__": "__main__"}
    for block in python_pages.get(document, []):
        if block.reason_not_run is None:
            exec(compile(block.text, str(block), "exec"), names)
