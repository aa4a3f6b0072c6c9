"""Public weights by their short names: where they are, how large, under which licence, and what they need first.

Figures are their publishers': of weights alone, and of memory as they ran them. None is ours; what they do not say
stands as not known.
"""

from dataclasses import dataclass
from pathlib import Path

BUILT_IN = {"mini": Path(__file__).parents[1] / "weights" / "mini"}  # ours
OF_HALLO = "OpenRAIL-M of Stable Diffusion too; insightface's weights for --arcface are non-commercial"


@dataclass(frozen=True)
class Known:
    """Weights of others in their own layout; `emo-convert` makes a model of them that `--model` takes."""

    name: str
    hub_id: str
    licence: str  # of the weights, as they are marked
    size: str = "not known"  # to download
    memory: str = "not known"  # on a GPU
    holds: str = ""  # licences of parts
    converts: bool = True  # whether emo-convert reads them

    @property
    def needs(self) -> str:
        return "emo-convert" if self.converts else "emo-convert does not read it yet"

    @property
    def how_to_get(self) -> str:
        """One line for who asks for it before it is converted."""
        if not self.converts:
            return f"--model {self.name}: emo-convert does not read {self.hub_id} yet; emo-models lists what it does"
        return (
            f"--model {self.name}: {self.hub_id} ({self.licence}) is in its authors' layout; download it, then "
            f"`emo-convert FOLDER -o {self.name}` leaves a folder that --model takes"
        )


KNOWN = {
    known.name: known
    for known in (
        Known("hallo", "fudan-generative-ai/hallo", "MIT", "4.85 GB (net.pth)", "9 GB", OF_HALLO),
        Known("hallo2", "fudan-generative-ai/hallo2", "MIT", "4.85 GB (net.pth)", "12 to 13 GB", OF_HALLO),
        Known("echomimic", "BadToBest/EchoMimic", "Apache-2.0", "8.5 GB", converts=False),
        Known("memo", "memoavatar/memo", "Apache-2.0", "10.8 GB", "24 GB", converts=False),
    )
}
