"""emo-publish: send a model or a run of emo-train to the Hub, with a model card."""

import argparse
import sys
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import hub_id, integer


def make_parser() -> Parser:
    """Return the parser of emo-publish."""
    parser = Parser(
        "emo-publish",
        description="Publishes a run of emo-train, or a model's folder, with its card.",
        renamed={"--licence": "--license"},
    )
    parser.add_argument("folder", type=Path, help="a run that has ended, a folder with model_index.json, or mini")
    parser.add_argument("name", type=hub_id, help="OWNER/NAME on the Hub; created if there is none")
    parser.add_argument(
        "--license", required=True, help="license of the weights, an id of the Hub: apache-2.0, cc-by-nc-4.0, ..."
    )
    parser.add_argument("--dataset", action="append", default=[], help="Hub id of a training data set, repeatable")
    parser.add_argument("--report", type=Path, help="report.json of emo-eval: its first set's figures go into the card")
    parser.add_argument("--bench", type=Path, help="bench.json of emo-bench: its speeds go into the card")
    parser.add_argument(
        "--samples", type=integer(0), default=4, help="how many of the run's last videos the card shows (default 4)"
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--card", type=Path, help="write the card to this file and send nothing")
    return parser


def publish(args: argparse.Namespace) -> None:
    """Publish a model with its card, or only write the card.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: The folder is not a model, a report can't be read, or the Hub refuses the files.
    """
    from emo.core.files import write_text_atomic
    from emo.hub.publish.card import CardOptions
    from emo.hub.publish.facts import collect_facts
    from emo.hub.publish.upload import collect_files, publish
    from emo.hub.registry import BUILT_IN_MODELS

    options = CardOptions(args.name, args.license, args.dataset, args.report, args.bench, args.samples)
    facts = collect_facts(BUILT_IN_MODELS.get(str(args.folder)) or args.folder)
    for folder in facts.missing_clip_folders:
        print(f"emo-publish: {folder} is missing, so the card does not describe its training data", file=sys.stderr)
    files = collect_files(facts, options)
    if args.card is None:
        print(publish(files, args.name, args.private))
        return
    write_text_atomic(args.card, files["README.md"].decode())
    print(f"{args.card}; files that would be sent with it: {', '.join(name for name in files if name != 'README.md')}")


def main() -> None:
    """Run emo-publish."""
    run(make_parser(), publish)


if __name__ == "__main__":
    main()
