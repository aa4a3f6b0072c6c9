"""The part of ComfyUI's interface for nodes (comfy_api.v0_0_2) that the pack uses, after its published source.

ComfyUI is a program and no package, so tests can't install it.
"""

import sys
from types import ModuleType


def make_type(io_type: str) -> type:
    """A type of inputs and outputs, as `io.Custom` makes it."""

    class Input:
        def __init__(self, id: str, display_name=None, optional=False, tooltip=None, lazy=None, **options):
            self.id, self.io_type, self.optional = id, io_type, optional
            self.options = {"display_name": display_name, "tooltip": tooltip, "lazy": lazy} | options

        def as_dict(self) -> dict:
            return {name: value for name, value in self.options.items() if value is not None}

    class Output:
        def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
            self.id, self.io_type, self.display_name = id, io_type, display_name

    return type(io_type, (), {"Input": Input, "Output": Output})


class Schema:
    """What a node is called, takes and gives."""

    def __init__(self, node_id, display_name=None, category="sd", inputs=None, outputs=None):
        self.node_id, self.display_name, self.category = node_id, display_name, category
        self.inputs, self.outputs = inputs or [], outputs or []

    def validate(self) -> None:
        """Ids must be unique among all inputs and outputs; outputs without one are numbered."""
        for index, output in enumerate(self.outputs):
            output.id = output.id or f"_{index}_{output.io_type}_"
        ids = [part.id for part in (*self.inputs, *self.outputs)]
        assert len(set(ids)) == len(ids)


class NodeOutput:
    """What a node returns."""

    def __init__(self, *args):
        self.args = args

    @property
    def result(self):
        """Its values."""
        return self.args or None


class ComfyNode:
    """The class of all nodes; ComfyUI calls the methods in capitals, which old nodes have, too."""

    FUNCTION = "EXECUTE_NORMALIZED"

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.validate()
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {part.id: (part.io_type, part.as_dict()) for part in cls.define_schema().inputs}}

    @classmethod
    def EXECUTE_NORMALIZED(cls, *args, **kwargs) -> NodeOutput:
        output = cls.execute(*args, **kwargs)
        assert isinstance(output, NodeOutput)
        return output


class ComfyExtension:
    """The class of all packs."""


def make_modules() -> dict[str, ModuleType]:
    """The modules by their names in sys.modules."""
    package, version, io = (ModuleType(name) for name in ("comfy_api", "comfy_api.v0_0_2", "comfy_api.latest._io"))
    for name in ("String", "Int", "Float", "Boolean", "Image", "Audio"):
        setattr(io, name, make_type(name.upper()))
    io.Custom, io.Schema, io.ComfyNode, io.NodeOutput = make_type, Schema, ComfyNode, NodeOutput
    version.io, version.ComfyExtension, package.v0_0_2 = io, ComfyExtension, version
    return {"comfy_api": package, "comfy_api.v0_0_2": version}


def install(monkeypatch) -> None:
    """Make the modules importable for a test."""
    for name, module in make_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
