"""A model's card, from what its run knows: what is not known is not in it.

What it says of limits, use and misuse holds for every model of this architecture (EMO, arXiv 2402.17485).
"""

from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, hf_hub_url
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import HFValidationError, validate_repo_id

from emo.core.errors import InputError
from emo.hub.publish.facts import Facts
from emo.hub.publish.results import TASK, Result, indexed, measures_table, results, speeds_table, table

CURVE = "training.svg"
TAGS = ["emo", "talking-head", "portrait-animation", "audio-driven", "arxiv:2402.17485"]
LIMITS = """One face per video, seen mostly from the front; hands and bodies stand still. Languages and singing styles
far from the training footage move the mouth less exactly, loud music hides the voice, and faces unlike those of the
training footage are served worse."""
USE = """Meant for animating portraits of people who agreed to it, of drawn or made-up faces, and for research on such
models and on how to detect them.

Not meant for, and not to be used for: showing real people saying what they never said without their consent, fraud,
harassment, or getting past a check of identity. Say openly that a video is synthetic wherever it is shown."""
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
class Told:
    """What the publisher says beside what the run knows."""

    name: str  # OWNER/NAME
    licence: str  # an id of the Hub, such as apache-2.0
    datasets: list[str] = field(default_factory=list)  # Hub ids
    report: Path | None = None  # of emo-eval
    bench: Path | None = None  # of emo-bench
    samples: int = 4  # videos to show


def make_card(facts: Facts, told: Told, has_curve: bool) -> ModelCard:
    """The card, checked. Raises InputError for a report that is none, or metadata that the Hub would refuse."""
    reference, found = results(told.report) if told.report else ("", [])
    try:
        data = ModelCardData(
            license=told.licence,
            library_name="diffusers",
            pipeline_tag=TASK,
            tags=TAGS,
            base_model=facts.published or None,
            datasets=[*told.datasets, *shard_sets(facts)] or None,
            metrics=[result.name.lower() for result in found] or None,
            model_name=told.name.split("/")[-1],
            eval_results=indexed(reference, found) or None,
        )
    except ValueError as error:
        raise InputError(f"{told.report}: {str(error).splitlines()[0]}") from error
    sections = {
        "": introduction(facts, told),
        "Use": usage(told),
        "Samples": samples(facts, told),
        "Architecture": architecture(facts),
        "Data": data_section(facts),
        "Training": training(facts, has_curve),
        "Evaluation": evaluation(reference, found),
        "Speed": told.bench and f"Measured by `emo-bench`.\n\n{speeds_table(told.bench)}",
        "Limits": LIMITS,
        "Intended use, and misuse": USE,
        "Citation": CITATION,
    }
    text = "\n\n".join(f"## {name}\n\n{body}" if name else body for name, body in sections.items() if body)
    return checked(ModelCard(f"---\n{data}\n---\n\n# {data.model_name}\n\n{text}\n"))


def checked(card: ModelCard) -> ModelCard:
    """The card as it is read again from its text. Raises InputError for names and results that the Hub would refuse;
    its list of licences and tasks it alone has, and holds the card against before it takes a file."""
    again = ModelCard(str(card))
    given = again.data.to_dict()
    try:
        for name in [*(given.get("base_model") or []), *(given.get("datasets") or [])]:
            validate_repo_id(name)
        if "model-index" in given:
            model_index_to_eval_results(given["model-index"])
    except (HFValidationError, KeyError, ValueError) as error:
        raise InputError(f"the card would be refused: {str(error).splitlines()[0]}") from error
    licence = str(given.get("license"))
    if not licence or licence.lower() != licence or " " in licence:
        raise InputError(f"--licence {licence}: give an id of the Hub's list, such as apache-2.0 or cc-by-nc-4.0")
    return again


def shard_sets(facts: Facts) -> list[str]:
    """Hub ids of the data sets that a run has streamed."""
    streamed = facts.config.data.shards if facts.config else []
    found = [address.removeprefix("hf://datasets/") for address in streamed if address.startswith("hf://datasets/")]
    return ["/".join(path.split("/")[:2]) for path in found]


def introduction(facts: Facts, told: Told) -> str:
    lora = f" --lora {told.name}" if facts.config and facts.config.lora.rank else ""
    return (
        "A still portrait and a sound in, a talking or singing video out: a model of the architecture of "
        "[EMO](https://arxiv.org/abs/2402.17485), made with `emo`, an independent implementation.\n\n"
        f"    emo-infer portrait.png song.wav --model {told.name}{lora}"
    )


def usage(told: Told) -> str:
    lines = "from emo import EMOPipeline", f'pipe = EMOPipeline.from_pretrained("{told.name}")'
    last = "frames = pipe(portrait, wave).frames  # uint8 (H W 3), float32 (S,) at 16 kHz -> uint8 (T H W 3)"
    return "```python\n" + "\n".join([*lines, last]) + "\n```"


def samples(facts: Facts, told: Told) -> str:
    urls = [hf_hub_url(told.name, f"samples/{path.name}") for path in facts.samples[: told.samples]]
    return "\n".join(f'<video controls loop src="{url}"></video>' for url in urls)


def architecture(facts: Facts) -> str:
    rows = [(part.name, f"`{part.kind}`", f"{part.weights:,}") for part in facts.parts]
    asked = ("size", "num_inference_steps", "guidance_scale", "overlap_frames")
    made = ("num_frames", "num_motion_frames", "block_out_channels", "audio_layers", "audio_feature_dim")
    known = [f"{name} {facts.index[name]}" for name in asked if name in facts.index]
    known += [f"{name} {facts.settings[name]}" for name in made if name in facts.settings]
    lora = facts.config.lora if facts.config else None
    beside = f"\n\nIn `lora/` lie adapters of rank {lora.rank} (LoRA) for it." if lora and lora.rank else ""
    return f"{table(('part', 'class', 'weights'), rows)}\n\n{', '.join(known)}.{beside}"


def data_section(facts: Facts) -> str:
    """Of the folders of clips as they are now, and of what is streamed by its address."""
    rows = [(s.folder, s.licence or "not known", str(s.people), str(s.clips), f"{s.hours:.3g}") for s in facts.sources]
    known = [table(("footage", "licence", "people", "clips", "hours"), rows)] if rows else []
    streamed = [f"Streamed from {name}." for name in shard_sets(facts)]
    held = [f"{facts.held_out} people are held out: never trained on."] if facts.held_out else []
    return "\n\n".join([*known, *streamed, *held])


def training(facts: Facts, has_curve: bool) -> str:
    config = facts.config
    if config is None:
        return ""
    asked = ("task", "steps", "batch_size", "learning_rate", "optimizer", "ema_decay", "seed")
    known = [f"{name} {getattr(config, name)}" for name in asked]
    known += [f"{name} {value}" for name, value in vars(config.loss).items() if value]
    hours = [f"{facts.hours:.2g} hours."] if facts.hours else []
    began = [f"It began with {', '.join(facts.published)}."] if facts.published else []
    picture = [f"![Losses over the steps]({CURVE})"] if has_curve else []
    return "\n\n".join([", ".join(known) + ".", *hours, *began, *picture])


def evaluation(reference: str, found: list[Result]) -> str:
    if not found:
        return ""
    figures = measures_table(reference, found)
    return f"Measured by `emo-eval` against {reference}, the mean and its 95 % interval.\n\n{figures}"
