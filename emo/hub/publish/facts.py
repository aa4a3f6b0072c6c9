"""Collect the facts of a model card from a model's folder, or from the folder of its training run."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open

from emo.core.config import Config, load_config
from emo.core.download import is_hub_id
from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.clip import load_clip_info, read_hold_out
from emo.models.loading import list_components, read_model_index


@dataclass(frozen=True)
class ComponentFacts:
    """A component of the pipeline."""

    name: str
    class_name: str
    num_weights: int  # with fixed tables


@dataclass(frozen=True)
class ClipSource:
    """Clips of one folder under one license."""

    folder: str
    license: str
    people: int
    clips: int
    hours: float


@dataclass
class ModelFacts:
    """The facts of a model.

    Attributes:
        folder: Folder of the pipeline.
        index: Content of its model_index.json.
        components: Components of the pipeline.
        model_config: Content of config.json of the trained model.
        config: Configuration of the training run; None: only the model is given.
        log_rows: Rows of the run's log.jsonl.
        clip_sources: Folders of clips that the run was trained on.
        num_held_out_people: Number of people of whom no clip was used in training.
        sample_videos: Preview videos of the run's last step.
    """

    folder: Path
    index: dict
    components: list[ComponentFacts]
    model_config: dict
    config: Config | None = None
    log_rows: list[dict] = field(default_factory=list)
    clip_sources: list[ClipSource] = field(default_factory=list)
    num_held_out_people: int = 0
    sample_videos: list[Path] = field(default_factory=list)

    @property
    def missing_clip_folders(self) -> list[str]:
        """Folders of clips that are not on this machine, so their licenses are unknown."""
        return [clips for clips in (self.config.data.clips if self.config else {}) if not Path(clips).is_dir()]

    @property
    def base_models(self) -> list[str]:
        """Hub ids of the weights that the run started with."""
        if self.config is None:
            return []
        given = self.config.start_from, self.config.initialize.unet, self.config.initialize.motion_adapter
        return [name for name in given if name and is_hub_id(name)]

    @property
    def hours(self) -> float:
        """Hours of training, from the log."""
        seconds, before = 0.0, 0
        for row in (row for row in self.log_rows if "seconds_per_step" in row):
            seconds, before = seconds + row["seconds_per_step"] * (row["step"] - before), row["step"]
        return seconds / 3600


def collect_facts(folder: Path) -> ModelFacts:
    """Collect the facts of a model.

    Args:
        folder: Folder of a run that has ended, or of a pipeline.

    Returns:
        The facts.

    Raises:
        InputError: The folder is neither, or a file can't be read.
    """
    run = (folder / "config.yaml").is_file()
    model = folder / "model" if run else folder
    if not (model / "model_index.json").is_file():
        why = "give a run's folder, or one with model_index.json"
        if run:
            why = "only complete pipelines are published" if model.is_dir() else "its run has not ended"
        raise InputError(f"{model} holds no model: {why}")
    components = [read_component_facts(model / name) for name in list_components(model)]
    facts = ModelFacts(
        model, read_model_index(model), components, json.loads((model / "model" / "config.json").read_text())
    )
    if run:
        add_run(facts, folder)
    return facts


def add_run(facts: ModelFacts, run: Path) -> None:
    """Add the log of a run, its samples, and the facts of its data that is still on this machine.

    Args:
        facts: Facts of the model, which are changed.
        run: Folder of the run.

    Raises:
        InputError: The configuration or a clip can't be read.
    """
    facts.config, log = load_config(run / "config.yaml"), run / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
    facts.log_rows = [json.loads(line) for line in lines if line.endswith("\n")]
    facts.clip_sources = [source for clips in facts.config.data.clips for source in list_clip_sources(Path(clips))]
    hold_out = facts.config.data.hold_out
    facts.num_held_out_people = len(read_hold_out(hold_out)) if hold_out and Path(hold_out).is_file() else 0
    videos = sorted((run / "samples").glob("step_????????_*.mp4"))
    facts.sample_videos = [path for path in videos if path.name[:13] == videos[-1].name[:13]]


def read_component_facts(folder: Path) -> ComponentFacts:
    """Read the facts of a component from its files' headers. Raises InputError for a broken file."""
    try:
        config, count = json.loads((folder / "config.json").read_text()), 0
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "numpy") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    except Exception as error:  # the reader raises many kinds on a broken file
        raise InputError(f"{folder} can't be read ({str(error).splitlines()[0]}): download the model again") from error
    return ComponentFacts(folder.name, config.get("_class_name") or config["model_type"], count)


def list_clip_sources(clips: Path) -> list[ClipSource]:
    """List the clips of a folder by license; none where the folder does not exist."""
    found = defaultdict(list)
    for path in sorted(clips.glob("*.json")):
        info = load_clip_info(path)
        found[info.license].append(info)
    name = clips.name if clips.name != "clips" else clips.resolve().parent.name
    return [
        ClipSource(
            name,
            license,
            people=len({info.person for info in infos}),
            clips=len(infos),
            hours=sum(info.num_frames for info in infos) / FPS / 3600,
        )
        for license, infos in found.items()
    ]
