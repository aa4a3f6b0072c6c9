"""emo-models: which models there are by name, and what the public ones need before emo-infer takes them."""

import argparse

from emo.cli.main import Parser, run
from emo.hub.registry import KNOWN

COLUMNS = "{:<10} {:<27} {:<11} {:<18} {:<12} {}"


def parser() -> Parser:
    return Parser("emo-models", description="Lists what emo-infer --model knows by name, beside folders and Hub ids.")


def models(args: argparse.Namespace) -> None:
    print(COLUMNS.format("name", "from", "licence", "size", "GPU memory", "needs"))
    print(COLUMNS.format("mini", "this package", "Apache-2.0", "29 MB", "none", "nothing"))
    for known in KNOWN.values():
        says = "; ".join(filter(None, [known.needs, known.holds]))
        print(COLUMNS.format(known.name, known.hub_id, known.licence, known.size, known.memory, says))
    print("\nSizes and memory are what their publishers say; licences are those of the weights.")


def main() -> None:
    run(parser(), models)


if __name__ == "__main__":
    main()
