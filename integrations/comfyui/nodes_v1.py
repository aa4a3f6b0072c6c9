"""The nodes in ComfyUI's first schema (V1), for versions that have no `comfy_api`."""

from .animation import CATEGORY, INPUTS, NAMES, OUTPUTS, load_model, make_frames


class EMOLoadModel:
    """Loads a model."""

    CATEGORY, FUNCTION = CATEGORY, "run"
    RETURN_TYPES, RETURN_NAMES = zip(*OUTPUTS["EMOLoadModel"], strict=True)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The node's inputs."""
        return {"required": INPUTS["EMOLoadModel"]}

    def run(self, model: str) -> tuple:
        """Run the node."""
        return (load_model(model),)


class EMOTalkingPortrait:
    """Makes a portrait talk."""

    CATEGORY, FUNCTION = CATEGORY, "run"
    RETURN_TYPES, RETURN_NAMES = zip(*OUTPUTS["EMOTalkingPortrait"], strict=True)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The node's inputs."""
        return {"required": INPUTS["EMOTalkingPortrait"]}

    def run(self, model, **inputs) -> tuple:
        """Run the node."""
        return make_frames(model, **inputs)


NODE_CLASS_MAPPINGS = {"EMOLoadModel": EMOLoadModel, "EMOTalkingPortrait": EMOTalkingPortrait}
NODE_DISPLAY_NAME_MAPPINGS = NAMES
