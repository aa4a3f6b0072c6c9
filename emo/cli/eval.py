"""emo-eval: folders of talking heads and of real footage in, figures, a table and a page out."""

import argparse
import os
from pathlib import Path

from emo.cli.run import Parser, run

EPILOG = """The face that is in sight for the longest is measured. The same command goes on where it stopped, and knows
what it has seen by the content of the files."""


def parser() -> Parser:
    out = Parser("emo-eval", description="Measures talking heads beside real footage.", epilog=EPILOG)
    out.add_argument("generated", type=Path, nargs="+", help="folders of videos, a column of the table each")
    out.add_argument("--reference", type=Path, required=True, help="folder of real videos, the same people or others")
    out.add_argument("-o", "--output", type=Path, default=Path("evaluation"), help="a folder (default: evaluation)")
    out.add_argument("--window", type=int, help="frames from one window's start to the next's: looks for jumps there")
    out.add_argument("--workers", type=int, default=os.cpu_count(), help="cores at work (default all); above 1: Ray")
    out.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")
    return out


def evaluate(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from emo.data.parallel import each
    from emo.errors import InputError
    from emo.evaluation.evaluate import evaluate
    from emo.evaluation.report import rows

    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: give 1 or more")
    if args.window is not None and args.window < 2:
        raise InputError(f"--window {args.window}: a window has 2 frames or more")

    def watched(work, videos):
        return tqdm(each(work, videos, args.workers, args.ray), total=len(videos), unit="video", dynamic_ncols=True)

    report = evaluate(args.generated, args.reference, args.output, args.window, watched)
    for one, score in zip(report.sets, rows(report)[0][2:], strict=False):
        print(f"{one.name}: score {score}")
    print(f"{args.output}: report.html, report.json, table.md, card.md")


def main() -> None:
    run(parser(), evaluate)


if __name__ == "__main__":
    main()
