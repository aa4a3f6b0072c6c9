"""Write a model card from the facts of a model; unknown facts are omitted.

The sections on limits, use and misuse hold for every model of this architecture (EMO, arXiv 2402.17485).
"""

from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, hf_hub_url
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import HFValidationError, validate_repo_id

from emo.core.errors import InputError
from emo.hub.publish.facts import ModelFacts
from emo.hub.publish.results import (
    PIPELINE_TAG,
    Result,
    make_eval_results,
    markdown_table,
    measures_table,
    read_results,
    speeds_table,
)

CURVE_FILE = "training.svg"
TAGS = ["emo", "talking-head", "portrait-animation", "audio-driven", "arxiv:2402.17485"]
LIMITS = """One face per video, mostly frontal; hands and bodies are not animated. Lip sync is less accurate for
languages and singing styles that are rare in the training footage, and under loud music. Quality is lower for faces
that are under-represented in the training footage."""
USE = """Meant for animating portraits of people who agreed to it, of drawn or generated faces, and for research on such
models and on how to detect them.

Not meant for, and not to be used for: showing real people saying what they did not say, without their consent; fraud;
harassment; or bypassing identity verification. Label a video as synthetic wherever it is shown.

Videos that `emo-infer` makes carry an invisible watermark, metadata and, with the extra `c2pa`, signed content
credentials that say that they are generated; `emo-detect` finds them. They help honest viewers; who knows the open code
can remove them. No mark does not mean that a video is real."""
CITATION = """```bibtex
@misc{tian2024emo,
  title={EMO: Emote Portrait Alive - Generating Expressive Portrait Videos with Audio2Video Diffusion Model under Weak
         Conditions},
  author={Linrui Tian and Qi Wang and Bang Zhang and Liefeng Bo},
  year={2024},
  eprint={2402.17485},
  archivePrefix={arXiv}
}
```"""


@dataclass
class CardOptions:
    """The publisher's options of a card.

    Attributes:
        name: OWNER/NAME on the Hub.
        license: An id of the Hub, such as apache-2.0.
        datasets: Hub ids of training data.
        report: File report.json of emo-eval.
        bench: File bench.json of emo-bench.
        samples: Number of videos that the card shows.
    """

    name: str
    license: str
    datasets: list[str] = field(default_factory=list)
    report: Path | None = None
    bench: Path | None = None
    samples: int = 4


def make_card(facts: ModelFacts, options: CardOptions, has_curve: bool) -> ModelCard:
    """Write and check the card.

    Args:
        facts: Facts of the model.
        options: The publisher's options.
        has_curve: Whether there is a picture of the losses.

    Returns:
        The card.

    Raises:
        InputError: The report is not one of emo-eval, or the Hub would refuse the metadata.
    """
    reference, measured = read_results(options.report) if options.report else ("", [])
    try:
        data = ModelCardData(
            license=options.license,
            library_name="diffusers",
            pipeline_tag=PIPELINE_TAG,
            tags=TAGS,
            base_model=facts.base_models or None,
            datasets=[*options.datasets, *list_shard_datasets(facts)] or None,
            metrics=[result.name.lower() for result in measured] or None,
            model_name=options.name.split("/")[-1],
            eval_results=make_eval_results(reference, measured) or None,
        )
    except ValueError as error:
        raise InputError(f"{options.report}: {str(error).splitlines()[0]}") from error
    sections = {
        "": write_introduction(facts, options),
        "Use": write_usage(options),
        "Samples": write_samples(facts, options),
        "Architecture": write_architecture(facts),
        "Data": write_data(facts),
        "Training": write_training(facts, has_curve),
        "Evaluation": write_evaluation(reference, measured),
        "Speed": options.bench and f"Measured by `emo-bench`.\n\n{speeds_table(options.bench)}",
        "Limits": LIMITS,
        "Intended use, and misuse": USE,
        "Citation": CITATION,
    }
    text = "\n\n".join(f"## {name}\n\n{body}" if name else body for name, body in sections.items() if body)
    return check_card(ModelCard(f"---\n{data}\n---\n\n# {data.model_name}\n\n{text}\n"))


def check_card(card: ModelCard) -> ModelCard:
    """Return the card, parsed from its text again. Raises InputError for names and results that the Hub would refuse.

    The lists of licenses and tasks are the Hub's own: it checks them before it takes a file.
    """
    again = ModelCard(str(card))
    given = again.data.to_dict()
    try:
        for name in [*(given.get("base_model") or []), *(given.get("datasets") or [])]:
            validate_repo_id(name)
        if "model-index" in given:
            model_index_to_eval_results(given["model-index"])
    except (HFValidationError, KeyError, ValueError) as error:
        raise InputError(f"the card would be refused: {str(error).splitlines()[0]}") from error
    license = str(given.get("license"))
    if not license or license.lower() != license or " " in license:
        raise InputError(f"license={license!r}: give an id of the Hub's list, such as apache-2.0 or cc-by-nc-4.0")
    return again


def list_shard_datasets(facts: ModelFacts) -> list[str]:
    """Return Hub ids of the data sets that the run has streamed."""
    streamed = facts.config.data.shards if facts.config else []
    paths = [address.removeprefix("hf://datasets/") for address in streamed if address.startswith("hf://datasets/")]
    return ["/".join(path.split("/")[:2]) for path in paths]


def write_introduction(facts: ModelFacts, options: CardOptions) -> str:
    """Write what the model does and the command that runs it.

    Args:
        facts: Facts of the model.
        options: The publisher's options.

    Returns:
        Markdown.
    """
    lora = f" --lora {options.name}" if facts.config and facts.config.lora.rank else ""
    return (
        "This model makes a talking or singing video from one portrait and a sound. Its architecture is that of "
        "[EMO](https://arxiv.org/abs/2402.17485); it runs with `emo`, an independent implementation.\n\n"
        f"    emo-infer portrait.png song.wav --model {options.name}{lora}"
    )


def write_usage(options: CardOptions) -> str:
    """Write the Python code that runs the model, as Markdown."""
    lines = "from emo import EMOPipeline", f'pipe = EMOPipeline.from_pretrained("{options.name}")'
    last = 'frames = pipe("portrait.png", "song.wav").frames  # (T, H, W, 3) uint8, 25 frames per second'
    return "```python\n" + "\n".join([*lines, last]) + "\n```"


def write_samples(facts: ModelFacts, options: CardOptions) -> str:
    """Write the players of the sample videos.

    Args:
        facts: Facts of the model.
        options: The publisher's options.

    Returns:
        Markdown; empty without samples.
    """
    urls = [hf_hub_url(options.name, f"samples/{path.name}") for path in facts.sample_videos[: options.samples]]
    return "\n".join(f'<video controls loop src="{url}"></video>' for url in urls)


def write_architecture(facts: ModelFacts) -> str:
    """Write the table of components and the main settings, as Markdown."""
    rows = [(part.name, f"`{part.class_name}`", f"{part.num_weights:,}") for part in facts.components]
    names = ("size", "num_inference_steps", "guidance_scale", "overlap_frames")
    made = ("num_frames", "num_motion_frames", "block_out_channels", "audio_layers", "audio_feature_dim")
    known = [f"{name} {facts.index[name]}" for name in names if name in facts.index]
    known += [f"{name} {facts.model_config[name]}" for name in made if name in facts.model_config]
    lora = facts.config.lora if facts.config else None
    beside = f"\n\n`lora/` contains LoRA adapters of rank {lora.rank} for this model." if lora and lora.rank else ""
    return f"{markdown_table(('component', 'class', 'weights'), rows)}\n\n{', '.join(known)}.{beside}"


def write_data(facts: ModelFacts) -> str:
    """Write the folders of clips as they are now, and the addresses of streamed data, as Markdown."""
    rows = [
        (s.folder, s.license or "not known", str(s.people), str(s.clips), f"{s.hours:.3g}") for s in facts.clip_sources
    ]
    known = [markdown_table(("footage", "license", "people", "clips", "hours"), rows)] if rows else []
    streamed = [f"Streamed from {name}." for name in list_shard_datasets(facts)]
    count = facts.num_held_out_people
    held_out = [f"{count} people are held out: no clip of them is used in training."] if count else []
    return "\n\n".join([*known, *streamed, *held_out])


def write_training(facts: ModelFacts, has_curve: bool) -> str:
    """Write the settings of the run, its hours, its base models and its losses.

    Args:
        facts: Facts of the model.
        has_curve: Whether there is a picture of the losses.

    Returns:
        Markdown; empty without a run.
    """
    config = facts.config
    if config is None:
        return ""
    names = ("task", "steps", "batch_size", "learning_rate", "optimizer", "ema_decay", "seed")
    known = [f"{name} {getattr(config, name)}" for name in names]
    known += [f"{name} {value}" for name, value in vars(config.loss).items() if value]
    hours = [f"Training took {facts.hours:.2g} hours."] if facts.hours else []
    start = [f"Initialized from {', '.join(facts.base_models)}."] if facts.base_models else []
    picture = [f"![Losses over the steps]({CURVE_FILE})"] if has_curve else []
    return "\n\n".join([", ".join(known) + ".", *hours, *start, *picture])


def write_evaluation(reference: str, measured: list[Result]) -> str:
    """Write the figures of emo-eval.

    Args:
        reference: Name of the real footage.
        measured: Results of the evaluation.

    Returns:
        Markdown; empty without results.
    """
    if not measured:
        return ""
    figures = measures_table(reference, measured)
    return f"Measured by `emo-eval` against {reference}, the mean and its 95 % interval.\n\n{figures}"
