"""Published models by short names: address, size, license of the weights, and what they need before they can be used.

Sizes and memory are what the publishers state, for weights alone and on their own machines; what they do not state is
"not known".
"""

from dataclasses import dataclass

from emo.models.loading import BUILT_IN_MODELS as BUILT_IN_MODELS

HALLO_PARTS_LICENSE = "OpenRAIL-M of Stable Diffusion too; insightface's weights for --arcface are non-commercial"


@dataclass(frozen=True)
class RegisteredModel:
    """Weights of others in their authors' layout, which `emo-convert` turns into a pipeline's folder."""

    name: str
    hub_id: str
    license: str  # of the weights, as they are marked
    download_size: str = "not known"
    gpu_memory: str = "not known"
    parts_license: str = ""  # of parts with other terms
    convertible: bool = True  # whether emo-convert reads them

    @property
    def requirement(self) -> str:
        """What must be done before the model can be used."""
        return "emo-convert" if self.convertible else "emo-convert does not read it yet"

    @property
    def instructions(self) -> str:
        """Instructions in one line for getting the model."""
        if not self.convertible:
            return f"model={self.name}: emo-convert does not read {self.hub_id} yet; emo-models lists what it does"
        return (
            f"model={self.name}: {self.hub_id} ({self.license}) is in its authors' layout; download it, then "
            f"`emo-convert FOLDER -o {self.name}` makes a folder that can be loaded"
        )


REGISTERED_MODELS = {
    model.name: model
    for model in (
        RegisteredModel("hallo", "fudan-generative-ai/hallo", "MIT", "4.85 GB (net.pth)", "9 GB", HALLO_PARTS_LICENSE),
        RegisteredModel(
            "hallo2", "fudan-generative-ai/hallo2", "MIT", "4.85 GB (net.pth)", "12 to 13 GB", HALLO_PARTS_LICENSE
        ),
        RegisteredModel("echomimic", "BadToBest/EchoMimic", "Apache-2.0", "8.5 GB", convertible=False),
        RegisteredModel("memo", "memoavatar/memo", "Apache-2.0", "10.8 GB", "24 GB", convertible=False),
    )
}
