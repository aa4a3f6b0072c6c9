"""EMO for ComfyUI: clone or link this folder into ComfyUI's custom_nodes.

ComfyUI asks for the first schema's maps before it asks for `comfy_entrypoint`, so only one of them is given.
"""

try:
    from .nodes import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
except ImportError:  # a version without comfy_api.v0_0_2
    from .nodes_v1 import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
