"""emo-publish: a run or a model to the Hub, with a card written from what the run knows."""

import argparse
import sys
from pathlib import Path

from emo.cli.main import Parser, run
from emo.core.errors import InputError


def hub_id(text: str) -> str:
    """OWNER/NAME."""
    if text.count("/") != 1 or not all(text.split("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not OWNER/NAME")
    return text


def parser() -> Parser:
    out = Parser("emo-publish", description="Publishes a run of emo-train, or a model's folder, with its card.")
    out.add_argument("folder", type=Path, help="a run that has ended, a folder with model_index.json, or mini")
    out.add_argument("name", type=hub_id, help="OWNER/NAME on the Hub; it is made if there is none")
    out.add_argument("--licence", required=True, help="of the weights, an id of the Hub: apache-2.0, cc-by-nc-4.0, ...")
    out.add_argument("--dataset", action="append", default=[], help="Hub id of a data set it learnt from, repeatable")
    out.add_argument("--report", type=Path, help="report.json of emo-eval: its first set's figures go into the card")
    out.add_argument("--bench", type=Path, help="bench.json of emo-bench: its speeds go into the card")
    out.add_argument("--samples", type=int, default=4, help="of the run's last videos, to show on the card (default 4)")
    out.add_argument("--private", action="store_true", help="make a private repository")
    out.add_argument("--card", type=Path, help="only write the card to this file, to look at; nothing is sent")
    return out


def publish(args: argparse.Namespace) -> None:
    from emo.hub.publish.card import Told
    from emo.hub.publish.facts import gather
    from emo.hub.publish.upload import contents, publish
    from emo.hub.registry import BUILT_IN

    told = Told(args.name, args.licence, args.dataset, args.report, args.bench, args.samples)
    facts = gather(BUILT_IN.get(str(args.folder), args.folder))
    for clips in facts.lost:
        print(f"emo-publish: {clips} is not here, so the card does not say what was learnt from it", file=sys.stderr)
    files = contents(facts, told)
    if args.card is None:
        print(publish(files, args.name, args.private))
        return
    try:
        args.card.write_bytes(files["README.md"])
    except OSError as error:
        raise InputError(f"{args.card} can't be written ({error.strerror}): choose another --card") from error
    print(f"{args.card}; would be sent beside it: {', '.join(name for name in files if name != 'README.md')}")


def main() -> None:
    run(parser(), publish)


if __name__ == "__main__":
    main()
