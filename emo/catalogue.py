"""Public weights by their short names: where they are, how large, under which licence, and what they need first.

Figures are their publishers': of weights alone, and of memory as they ran them. None is ours; what they do not say
stands as not known.
"""

from dataclasses import dataclass
from pathlib import Path

BUILT_IN = {"mini": Path(__file__).parent / "weights" / "mini"}  # ours
FACE_EMBEDDING = "its face embeddings are insightface's, for non-commercial research only"


@dataclass(frozen=True)
class Known:
    """Weights of others in their own layout; `emo-convert` makes a model of them that `--model` takes."""

    name: str
    hub_id: str
    licence: str  # of the weights, as they are marked
    size: str = "not known"  # to download
    memory: str = "not known"  # on a GPU, to make 512 px
    needs: str = ""  # beside converting

    @property
    def how_to_get(self) -> str:
        """One line for who asks for it before it is converted."""
        needs = f" ({self.needs})" if self.needs else ""
        return (
            f"--model {self.name} is {self.hub_id} ({self.licence}) in its authors' own layout{needs}: get it, make a "
            "folder of it with emo-convert, and give that folder"
        )


KNOWN = {
    known.name: known
    for known in (
        Known("hallo", "fudan-generative-ai/hallo", "MIT", "4.8 GB (net.pth)", "9 GB", FACE_EMBEDDING),
        Known("hallo2", "fudan-generative-ai/hallo2", "MIT", "4.8 GB (net.pth)", "12 GB", FACE_EMBEDDING),
        Known("echomimic", "BadToBest/EchoMimic", "Apache-2.0", needs="it hears with Whisper"),
        Known("memo", "memoavatar/memo", "Apache-2.0", needs=FACE_EMBEDDING),
    )
}
