"""emo-convert: published weights of Hallo or Hallo2 in, a folder that emo-infer --model runs out."""

import argparse
from pathlib import Path

from emo.cli.main import Parser, run


def parser() -> Parser:
    out = Parser("emo-convert", description="Makes a model for emo-infer of the published weights of Hallo or Hallo2.")
    out.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="net.pth, a folder of Stable Diffusion's VAE and one of wav2vec2-base-960h, or a folder that holds them",
    )
    out.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    out.add_argument(
        "--evaluated",
        action="store_true",
        help="wire it as Hallo's code does in evaluation mode, not as in training mode, in which its authors run it",
    )
    return out


def convert_sources(args: argparse.Namespace) -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    from emo.hub.convert.pipeline import convert, find_parts

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    parts = find_parts(args.sources)
    print("\n".join(parts.licences()), flush=True)
    convert(parts, args.output, not args.evaluated)
    print(f"{args.output}: emo-infer PORTRAIT SOUND --model {args.output}")


def main() -> None:
    run(parser(), convert_sources)


if __name__ == "__main__":
    main()
