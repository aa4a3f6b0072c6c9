"""emo-prepare: footage and pictures in, prepared clips out."""

import argparse
from pathlib import Path

from emo.cli.run import Parser, run


def parser() -> Parser:
    out = Parser("emo-prepare", description="Makes the clips that emo-train reads.")
    kinds = out.add_subparsers(dest="kind", required=True)
    videos = kinds.add_parser("videos", help="a folder of videos, each of one talking face")
    stills = kinds.add_parser("stills", help="a folder of faces, made to talk like prepared clips")
    for kind in (videos, stills):
        kind.add_argument("folder", type=Path, help="the footage; a manifest.csv in it may name speaker and licence")
        kind.add_argument("labels", type=Path, help="its face landmarks, from emo.data.label")
        kind.add_argument("out", type=Path, help="where the clips go; what is there already is kept")
        kind.add_argument("--size", type=int, default=256, help="pixels of the square crop (default 256)")
        kind.add_argument("--hold-out", help="text file of people to leave out, one a line")
    videos.add_argument("--per-person", type=int, help="at most so many clips of one person")
    stills.add_argument("--drivers", type=Path, nargs="+", required=True, help="folders of clips made by `videos`")
    stills.add_argument("--frames", type=int, default=50, help="length of a talking still (default 50)")
    return out


def prepare(args: argparse.Namespace) -> None:
    from emo.data.corpus import prepare_stills, prepare_videos

    if args.kind == "videos":
        kept = prepare_videos(args.folder, args.labels, args.out, args.size, args.hold_out, args.per_person)
    else:
        kept = prepare_stills(args.folder, args.labels, args.out, args.size, args.hold_out, args.drivers, args.frames)
    print(f"{args.out}: {kept} clips")


def main() -> None:
    run(parser(), prepare)


if __name__ == "__main__":
    main()
