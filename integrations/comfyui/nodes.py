"""The nodes in ComfyUI's present schema (V3)."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .animation import CATEGORY, INPUTS, MODEL_TYPE, NAMES, OUTPUTS, load_model, make_frames

TYPES = {
    "STRING": io.String,
    "INT": io.Int,
    "FLOAT": io.Float,
    "BOOLEAN": io.Boolean,
    "IMAGE": io.Image,
    "AUDIO": io.Audio,
    MODEL_TYPE: io.Custom(MODEL_TYPE),
}


def describe_node(node_id: str) -> io.Schema:
    """Return the schema of a node."""
    return io.Schema(
        node_id=node_id,
        display_name=NAMES[node_id],
        category=CATEGORY,
        inputs=[TYPES[kind].Input(name, **options) for name, (kind, options) in INPUTS[node_id].items()],
        outputs=[TYPES[kind].Output(display_name=name) for kind, name in OUTPUTS[node_id]],
    )


class EMOLoadModel(io.ComfyNode):
    """Loads a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's inputs and outputs."""
        return describe_node("EMOLoadModel")

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        """Run the node."""
        return io.NodeOutput(load_model(model))


class EMOTalkingPortrait(io.ComfyNode):
    """Makes a portrait talk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's inputs and outputs."""
        return describe_node("EMOTalkingPortrait")

    @classmethod
    def execute(cls, model, **inputs) -> io.NodeOutput:
        """Run the node."""
        return io.NodeOutput(*make_frames(model, **inputs))


class EMOExtension(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Its nodes."""
        return [EMOLoadModel, EMOTalkingPortrait]


async def comfy_entrypoint() -> EMOExtension:
    """What ComfyUI calls when it loads the pack."""
    return EMOExtension()
