"""What a run's folder, or a model's, knows of itself: all that a card may say."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open

from emo.core.config import Config, load_config
from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.clip import load_info, read_hold_out
from emo.models.loading import read_index, trained_parts


@dataclass(frozen=True)
class Part:
    """A component of the pipeline."""

    name: str
    kind: str  # its class
    weights: int  # how many, with fixed tables


@dataclass(frozen=True)
class Source:
    """Clips of one folder under one licence."""

    folder: str
    licence: str
    people: int
    clips: int
    hours: float


@dataclass
class Facts:
    model: Path  # folder of the pipeline
    index: dict  # its model_index.json
    parts: list[Part]
    settings: dict  # of the trained model, its config.json
    config: Config | None = None  # of the run; None: there is only the model
    rows: list[dict] = field(default_factory=list)  # of its log.jsonl
    sources: list[Source] = field(default_factory=list)
    held_out: int = 0  # people
    samples: list[Path] = field(default_factory=list)  # the last videos it made

    @property
    def lost(self) -> list[str]:
        """Folders of clips that are not here: whose licences they had can't be said."""
        return [clips for clips in (self.config.data.clips if self.config else {}) if not Path(clips).is_dir()]

    @property
    def published(self) -> list[str]:
        """Hub ids of the weights that the run began with."""
        if self.config is None:
            return []
        given = self.config.start_from, self.config.initialise.unet, self.config.initialise.motion_adapter
        return [name for name in given if name and is_hub_id(name)]

    @property
    def hours(self) -> float:
        """Of training, as the log has them."""
        seconds, before = 0.0, 0
        for row in (row for row in self.rows if "seconds_per_step" in row):
            seconds, before = seconds + row["seconds_per_step"] * (row["step"] - before), row["step"]
        return seconds / 3600


def is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).exists()


def gather(folder: Path) -> Facts:
    """Of a run that has ended, or of a model's folder. Raises InputError for another one."""
    run = (folder / "config.yaml").is_file()
    model = folder / "model" if run else folder
    if not (model / "model_index.json").is_file():
        why = "give a run's folder, or one with model_index.json"
        if run:
            why = "only whole pipelines are published" if model.is_dir() else "its run has not ended"
        raise InputError(f"{model} holds no model: {why}")
    parts = [read_part(model / name) for name in trained_parts(model)]
    facts = Facts(model, read_index(model), parts, json.loads((model / "model" / "config.json").read_text()))
    if run:
        add_run(facts, folder)
    return facts


def add_run(facts: Facts, run: Path) -> None:
    """What the run itself has written, and what is still there of its data."""
    facts.config, log = load_config(run / "config.yaml"), run / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
    facts.rows = [json.loads(line) for line in lines if line.endswith("\n")]
    facts.sources = [source for clips in facts.config.data.clips for source in sources(Path(clips))]
    hold_out = facts.config.data.hold_out
    facts.held_out = len(read_hold_out(hold_out)) if hold_out and Path(hold_out).is_file() else 0
    videos = sorted((run / "samples").glob("step_????????_*.mp4"))
    facts.samples = [path for path in videos if path.name[:13] == videos[-1].name[:13]]


def read_part(folder: Path) -> Part:
    """By what its files say, without loading its weights. Raises InputError for a broken file."""
    try:
        config, count = json.loads((folder / "config.json").read_text()), 0
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "numpy") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    except Exception as error:  # the reader raises what it likes on a broken file
        raise InputError(f"{folder} can't be read ({str(error).splitlines()[0]}): get the model again") from error
    return Part(folder.name, config.get("_class_name") or config["model_type"], count)


def sources(clips: Path) -> list[Source]:
    """By licence; none where the clips are no longer there."""
    found = defaultdict(list)
    for path in sorted(clips.glob("*.json")):
        info = load_info(path)
        found[info.licence].append(info)
    name = clips.name if clips.name != "clips" else clips.resolve().parent.name
    return [
        Source(
            name,
            licence,
            people=len({info.person for info in infos}),
            clips=len(infos),
            hours=sum(info.num_frames for info in infos) / FPS / 3600,
        )
        for licence, infos in found.items()
    ]
