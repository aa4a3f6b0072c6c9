"""emo-train: one YAML file, one run; the same command again goes on where it stopped."""

import argparse

from emo.cli.main import Parser, run


def parser() -> Parser:
    out = Parser(
        "emo-train", description="Trains what the YAML file names; resumes by itself. SIGTERM saves and ends it."
    )
    out.add_argument("config", help="a YAML file, such as configs/mini/stage1.yaml")
    out.add_argument("overrides", nargs="*", help="settings over the file's, such as steps=100 data.size=128")
    return out


def train(args: argparse.Namespace) -> None:
    from emo.core.config import load_config
    from emo.training.trainer import train

    model = train(load_config(args.config, args.overrides))
    print(model or "stopped behind a checkpoint: the same command goes on from there")


def main() -> None:
    run(parser(), train)


if __name__ == "__main__":
    main()
