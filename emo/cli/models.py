"""emo-models: list the models that have a name, and the steps that published ones need before emo-infer loads them."""

import argparse

from emo.cli.command import Parser, run

COLUMNS = "{:<10} {:<27} {:<11} {:<18} {:<12} {}"


def make_parser() -> Parser:
    """Return the parser of emo-models."""
    return Parser(
        "emo-models", description="Lists the names that emo-infer --model takes, besides folders and Hub ids."
    )


def list_models(args: argparse.Namespace) -> None:
    """Print the table of named models.

    Args:
        args: Arguments of `make_parser`; none is used.
    """
    from emo.hub.registry import REGISTERED_MODELS

    print(COLUMNS.format("name", "from", "license", "size", "GPU memory", "needs"))
    print(COLUMNS.format("mini", "this package", "Apache-2.0", "34 MB", "none", "nothing"))
    for model in REGISTERED_MODELS.values():
        needs = "; ".join(filter(None, [model.requirement, model.parts_license]))
        print(COLUMNS.format(model.name, model.hub_id, model.license, model.download_size, model.gpu_memory, needs))
    print("\nSizes and memory are what their publishers state; licenses are those of the weights.")


def main() -> None:
    """Run emo-models."""
    run(make_parser(), list_models)


if __name__ == "__main__":
    main()
