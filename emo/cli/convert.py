"""emo-convert: convert published weights of Hallo or Hallo2 to a folder for emo-infer --model."""

import argparse
from pathlib import Path

from emo.cli.command import Parser, run


def make_parser() -> Parser:
    """Return the parser of emo-convert."""
    parser = Parser(
        "emo-convert",
        description="Converts the published weights of Hallo or Hallo2 to a model for emo-infer.",
        renamed={"--evaluated": "--eval-mode"},
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="net.pth, a folder of Stable Diffusion's VAE and one of wav2vec2-base-960h, or a folder that holds them",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--eval-mode",
        action="store_true",
        help="connect the layers as Hallo's code does in evaluation mode; its authors run it in training mode",
    )
    return parser


def convert(args: argparse.Namespace) -> None:
    """Convert published weights to a pipeline's folder and print the licenses of its parts.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: A part is missing or is not a part of Hallo, or the output exists.
    """
    import diffusers.utils.logging
    import transformers.utils.logging

    from emo.hub.convert.pipeline import convert_hallo, find_parts

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    parts = find_parts(args.sources)
    print("\n".join(parts.licenses()), flush=True)
    convert_hallo(parts, args.output, not args.eval_mode)
    print(f"{args.output}: emo-infer PORTRAIT SOUND --model {args.output}")


def main() -> None:
    """Run emo-convert."""
    run(make_parser(), convert)


if __name__ == "__main__":
    main()
