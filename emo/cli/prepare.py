"""emo-prepare: footage and pictures in, prepared clips and shards out."""

import argparse
import os
import sys
from pathlib import Path

from emo.cli.main import Parser, run

EPILOG = """emo-prepare RAW SHARDS is short for `footage`. RAW and SHARDS are folders, or what fsspec reads and writes
(s3://..., hf://datasets/...); emo-prepare KIND --help tells more"""


def parser() -> Parser:
    out = Parser("emo-prepare", description="Makes what emo-train reads.", epilog=EPILOG)
    kinds = out.add_subparsers(dest="kind", required=True)
    footage = kinds.add_parser("footage", help="a pile of videos -> clips, their shards, and a page that shows them")
    videos = kinds.add_parser("videos", help="a pile of videos -> a clip of each talking face")
    stills = kinds.add_parser("stills", help="a folder of faces, made to talk like prepared clips")
    shards = kinds.add_parser("shards", help="folders of clips -> WebDataset shards and index.parquet")
    report = kinds.add_parser("report", help="folders of clips -> a page that shows what was kept and dropped")
    synth = kinds.add_parser("synth", help="drawn talking heads, each with a file of what is exactly known of it")
    for kind in (footage, videos):
        kind.add_argument("raw", help="the footage; a manifest.csv in it may name file,speaker,licence,source")
        kind.add_argument("--recipe", type=Path, help="what is known of the footage, such as datasets/grid.yaml")
        kind.add_argument("--list", type=Path, help="the footage's own list of files and times, as its recipe reads it")
        kind.add_argument("--limits", nargs="+", default=[], help="of emo/data/screen.py, such as least_voice=0")
        kind.add_argument(
            "--labels", type=Path, help="landmarks from emo.preparation.labels, to drive stills with the clips"
        )
        kind.add_argument("--vocals", metavar="MODEL", help="hear voices without their music: htdemucs, or its weights")
        kind.add_argument(
            "--syncnet",
            metavar="FILE_OR_HUB_ID",
            help="syncnet_v2.model, or OWNER/NAME/FILE of the Hub, to judge the lips in place of the small ear",
        )
        kind.add_argument("--per-person", type=int, help="at most so many files of one person")
        kind.add_argument(
            "--workers", type=int, default=os.cpu_count(), help="cores at work (default all); above 1: Ray"
        )
        kind.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")
    footage.add_argument("shards", help="where the shards, index.parquet and report.html go")
    footage.add_argument(
        "--work", type=Path, help="where the clips go (default SHARDS/clips); needed for a remote SHARDS"
    )
    stills.add_argument("folder", type=Path, help="the faces; a manifest.csv in it may name file,licence")
    for kind in (videos, stills):
        kind.add_argument("out", type=Path, help="where the clips go; what is there already is kept")
    for kind in (footage, videos, stills):
        kind.add_argument("--size", type=int, default=512, help="pixels of the square crop (default 512)")
        kind.add_argument("--hold-out", help="text file of people to leave out, one a line")
    stills.add_argument("--labels", type=Path, required=True, help="the faces' landmarks, from emo.preparation.labels")
    stills.add_argument("--drivers", type=Path, nargs="+", required=True, help="folders of clips of videos --labels")
    stills.add_argument("--frames", type=int, default=50, help="length of a talking still (default 50)")
    stills.add_argument("--takes", type=int, default=1, help="talking stills of one face (default 1)")
    stills.add_argument("--styled", type=float, default=0.0, help="share of them painted, recoloured or worn")
    stills.add_argument("--made-up", type=float, default=0.0, help="share of them with lips of another red")
    synth.add_argument("out", type=Path, help="where the videos go; what is there already is kept")
    said = synth.add_mutually_exclusive_group(required=True)
    said.add_argument("--text", type=Path, help="a text file, a sentence a line, spoken by eSpeak NG")
    said.add_argument("--sounds", type=Path, nargs="+", help="recordings; the mouth follows their loudness")
    synth.add_argument("--count", type=int, help="so many videos (default one of each sentence or recording)")
    synth.add_argument("--size", type=int, default=512, help="pixels of a side (default 512)")
    synth.add_argument("--seconds", type=float, help="longest video (default 60)")
    synth.add_argument("--seed", type=int, default=0, help="another seed, other faces and voices")
    for kind in (shards, report):
        kind.add_argument("clips", nargs="+", help="folders of clips")
        kind.add_argument("out", type=Path, help="folder of the shards" if kind is shards else "the HTML file")
    for kind in (footage, shards):
        kind.add_argument("--megabytes", type=float, default=1000.0, help="size of a shard (default 1000)")
        kind.add_argument(
            "--validation", type=float, help="share of the people kept for validation (the recipe's, or 0)"
        )
    return out


def footage(args: argparse.Namespace) -> None:
    from emo.core.errors import InputError
    from emo.core.storage import is_local, upload
    from emo.data.shards import write_shards
    from emo.preparation.recipe import read_recipe
    from emo.preparation.report import write_report

    local = is_local(args.shards)
    if not local and args.work is None:
        raise InputError(
            f"{args.shards} is not on this machine: give --work FOLDER for the clips and shards on their way"
        )
    here = Path(args.shards) if local else args.work / "shards"
    args.out = (here if args.work is None else args.work) / "clips"
    videos(args)
    share = args.validation
    if share is None:
        share = read_recipe(args.recipe).validation if args.recipe else 0.0
    made = write_shards([str(args.out)], here, int(args.megabytes * 1e6), share)
    write_report([args.out], here / "report.html")
    if not local:
        upload([*made, here / "index.parquet", here / "report.html"], args.shards)
    print(f"{args.shards}: {len(made)} shards; look at report.html there")


def videos(args: argparse.Namespace) -> None:
    from emo.data.clip import read_hold_out
    from emo.hub.resolve import find_weights
    from emo.preparation.clips import Job
    from emo.preparation.filters import read_limits
    from emo.preparation.recipe import Recipe, read_list, read_recipe
    from emo.preparation.runner import prepare_videos
    from emo.preparation.sources import list_sources
    from emo.speech.separation import separator

    recipe = read_recipe(args.recipe) if args.recipe else Recipe()
    separate, syncnet = args.vocals and separator(args.vocals), args.syncnet and find_weights(args.syncnet)
    job = Job(args.out, args.labels, args.size, read_limits(recipe.limits, args.limits), separate, syncnet)
    sources = list_sources(args.raw, recipe, list(read_list(args.list, recipe)) if args.list else None)
    people = read_hold_out(args.hold_out) | {*recipe.held_out}
    kept = prepare_videos(sources, job, people, args.per_person, args.workers, args.ray)
    print(f"{args.out}: {kept} clips")


def stills(args: argparse.Namespace) -> None:
    from emo.preparation.stills import prepare_stills

    given = args.folder, args.labels, args.out, args.size, args.hold_out
    kept = prepare_stills(*given, args.drivers, args.frames, args.takes, args.styled, args.made_up)
    print(f"{args.out}: {kept} clips")


def synth(args: argparse.Namespace) -> None:
    from emo.synthetic.drawn_footage import list_takes, make_synth, read_sentences

    takes = list_takes(read_sentences(args.text) if args.text else [], args.sounds or [], args.count, args.seed)
    print(f"{args.out}: {make_synth(args.out, takes, args.size, args.seconds)} videos")


def shards(args: argparse.Namespace) -> None:
    from emo.data.shards import write_shards

    made = write_shards(args.clips, args.out, int(args.megabytes * 1e6), args.validation or 0.0)
    print(f"{args.out}: {len(made)} shards")


def report(args: argparse.Namespace) -> None:
    from emo.preparation.report import write_report

    write_report([Path(folder) for folder in args.clips], args.out)
    print(args.out)


COMMANDS = {"footage": footage, "videos": videos, "stills": stills, "synth": synth, "shards": shards, "report": report}


def main() -> None:
    given = sys.argv[1:]
    named = not given or given[0] in COMMANDS or given[0] in ("-h", "--help")
    run(parser(), lambda args: COMMANDS[args.kind](args), given if named else ["footage", *given])


if __name__ == "__main__":
    main()
