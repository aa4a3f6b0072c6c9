"""emo-prepare: footage and pictures in, prepared clips out."""

import argparse
from pathlib import Path

from emo.cli.run import Parser, run


def parser() -> Parser:
    out = Parser("emo-prepare", description="Makes the clips that emo-train reads.")
    kinds = out.add_subparsers(dest="kind", required=True)
    videos = kinds.add_parser("videos", help="a folder of videos -> a clip of each talking face")
    stills = kinds.add_parser("stills", help="a folder of faces, made to talk like prepared clips")
    for kind in (videos, stills):
        kind.add_argument("folder", type=Path, help="the footage; a manifest.csv in it may name speaker and licence")
        kind.add_argument("out", type=Path, help="where the clips go; what is there already is kept")
        kind.add_argument("--size", type=int, default=256, help="pixels of the square crop (default 256)")
        kind.add_argument("--hold-out", help="text file of people to leave out, one a line")
    videos.add_argument("--limits", nargs="+", default=[], help="of emo/data/screen.py, such as lowest_sync=0.3")
    videos.add_argument("--labels", type=Path, help="landmarks from emo.data.label, to drive stills with the clips")
    videos.add_argument("--per-person", type=int, help="at most so many clips of one person")
    stills.add_argument("--labels", type=Path, required=True, help="the faces' landmarks, from emo.data.label")
    stills.add_argument("--drivers", type=Path, nargs="+", required=True, help="folders of clips of videos --labels")
    stills.add_argument("--frames", type=int, default=50, help="length of a talking still (default 50)")
    stills.add_argument("--takes", type=int, default=1, help="talking stills of one face (default 1)")
    stills.add_argument("--styled", type=float, default=0.0, help="share of them painted, recoloured or worn")
    stills.add_argument("--reshaped", type=float, default=0.0, help="share of them with other proportions")
    shards = kinds.add_parser("shards", help="folders of clips -> WebDataset shards and index.parquet")
    report = kinds.add_parser("report", help="folders of clips -> a page that shows what was kept and dropped")
    for kind in (shards, report):
        kind.add_argument("clips", nargs="+", help="folders of clips")
        kind.add_argument("out", type=Path, help="folder of the shards" if kind is shards else "the HTML file")
    shards.add_argument("--megabytes", type=float, default=1000.0, help="size of a shard (default 1000)")
    shards.add_argument("--validation", type=float, default=0.0, help="share of the people kept for validation")
    return out


def videos(args: argparse.Namespace) -> None:
    from emo.data.footage import Job, prepare_videos
    from emo.data.screen import read_limits

    job = Job(args.out, args.labels, args.size, read_limits(args.limits))
    kept = prepare_videos(args.folder, job, args.hold_out, args.per_person)
    print(f"{args.out}: {kept} clips")


def stills(args: argparse.Namespace) -> None:
    from emo.data.stills import prepare_stills

    given = args.folder, args.labels, args.out, args.size, args.hold_out
    kept = prepare_stills(*given, args.drivers, args.frames, args.takes, args.styled, args.reshaped)
    print(f"{args.out}: {kept} clips")


def shards(args: argparse.Namespace) -> None:
    from emo.data.shards import write_shards

    made = write_shards(args.clips, args.out, int(args.megabytes * 1e6), args.validation)
    print(f"{args.out}: {len(made)} shards")


def report(args: argparse.Namespace) -> None:
    from emo.data.report import write_report

    write_report([Path(folder) for folder in args.clips], args.out)
    print(args.out)


COMMANDS = {"videos": videos, "stills": stills, "shards": shards, "report": report}


def main() -> None:
    run(parser(), lambda args: COMMANDS[args.kind](args))


if __name__ == "__main__":
    main()
