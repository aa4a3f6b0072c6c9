"""emo-detect: tell whether pictures and videos bear the marks of this package.

The exit code is 0 where every file bears our mark, 1 where one does not, 2 where one can't be read.
"""

import argparse
import json
import sys
from pathlib import Path

from emo.cli.command import Parser, run

EPILOG = """Exit code: 0 where every file bears our mark, 1 where one does not, 2 where one can't be read.
A file without our mark may still be generated."""


def make_parser() -> Parser:
    """Return the parser of emo-detect."""
    parser = Parser(
        "emo-detect",
        description="Tells whether pictures and videos were made by emo: watermark, C2PA, metadata.",
        epilog=EPILOG,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pictures, videos, or folders of them")
    parser.add_argument("--json", action="store_true", help="print a list in JSON instead of text")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="also write a page with a row for each file")
    return parser


def detect(args: argparse.Namespace) -> None:
    """Print the marks of each file, and end with the exit code.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: A folder is empty.
    """
    from emo.core.files import write_text_atomic
    from emo.provenance.report import inspect_file, list_media, render_report

    reports = []
    for path in list_media(args.files):
        reports.append(inspect_file(path))
        if not args.json:
            print("\n".join(reports[-1].as_lines()), flush=True)
    if args.json:
        print(json.dumps([report.as_dict() for report in reports], indent=2, ensure_ascii=False))
    if args.report is not None:
        write_text_atomic(args.report, render_report(reports))
    sys.stdout.flush()
    if any(report.error for report in reports):
        sys.exit(2)
    sys.exit(0 if all(report.made_by_emo for report in reports) else 1)


def main() -> None:
    """Run emo-detect."""
    run(make_parser(), detect)


if __name__ == "__main__":
    main()
