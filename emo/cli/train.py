"""emo-train: run the training that a YAML file describes; the same command resumes it."""

import argparse

from emo.cli.command import Parser, run


def make_parser() -> Parser:
    """Return the parser of emo-train."""
    parser = Parser(
        "emo-train",
        description="Trains what the YAML file describes. The same command resumes a run; SIGTERM saves and ends it.",
    )
    parser.add_argument("config", help="a YAML file, such as configs/mini/fine_tune.yaml")
    parser.add_argument(
        "overrides", nargs="*", help="settings that replace the file's, such as steps=100 data.size=128"
    )
    return parser


def train(args: argparse.Namespace) -> None:
    """Train what the YAML file describes and print the folder of the model.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: A setting or the training data can't be used.
    """
    from emo.core.config import load_config
    from emo.training.trainer import train

    model = train(load_config(args.config, args.overrides))
    print(model or "stopped after saving a checkpoint: the same command resumes from it")


def main() -> None:
    """Run emo-train."""
    run(make_parser(), train)


if __name__ == "__main__":
    main()
