"""emo-prepare: make clips and shards from footage and pictures."""

import argparse
import os
import sys
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import integer, number

EPILOG = """emo-prepare RAW SHARDS is short for `footage`. RAW and SHARDS are folders, or what fsspec reads and writes
(s3://..., hf://datasets/...); emo-prepare KIND --help describes each kind"""


def add_heads_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `emo-prepare heads PHOTOS OUT --face-model NPZ`."""
    parser.add_argument(
        "photos", type=Path, help="folder of pictures of one face each; a manifest.csv in it may name file,license"
    )
    parser.add_argument("out", type=Path, help="where the clips go; existing clips are not made again")
    parser.add_argument("--face-model", type=Path, required=True, help="ICT-FaceKit's folder, or a packed .npz")
    parser.add_argument("--hours", type=number(0.0001, 1e5), default=2.0, help="smallest length of the set (default 2)")
    parser.add_argument("--size", type=integer(64, 1024), default=256, help="pixels of a side (default 256)")
    parser.add_argument("--seed", type=integer(0), default=0, help="another seed gives other voices and motions")
    parser.add_argument(
        "--clips-per-job", type=integer(1), default=3, help="clips of a picture before the next one (default 3)"
    )
    parser.add_argument(
        "--seconds",
        type=number(1, 60),
        nargs=2,
        default=(3.0, 8.0),
        metavar=("SHORTEST", "LONGEST"),
        help="length of a clip (default 3 8)",
    )
    parser.add_argument(
        "--kokoro", type=Path, help="folder of kokoro.onnx and voices/ (scripts/fetch_kokoro.sh); default: eSpeak NG"
    )
    parser.add_argument(
        "--drivers",
        type=Path,
        nargs="+",
        default=[],
        help="folders of clips of real people whose motion also drives heads",
    )
    parser.add_argument("--hold-out", type=Path, help="text file of people, voice:NAME and language:NAME, one a line")
    parser.add_argument(
        "--part",
        choices=["train", "held_out"],
        default="train",
        help="train leaves out what --hold-out names, held_out uses nothing else (default train)",
    )
    parser.add_argument(
        "--steady-ratio", type=number(0, 1), default=0.5, help="share of clips in a crop that follows the head (0.5)"
    )
    parser.add_argument(
        "--cross-identity-ratio",
        type=number(0, 1),
        default=0.0,
        help="share of clips whose voice and motion a second person performs too (0)",
    )
    parser.add_argument("--workers", type=integer(1), default=os.cpu_count(), help="cores (default all); above 1: Ray")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")


def make_parser() -> Parser:
    """Return the parser of emo-prepare with a subparser for each kind."""
    parser = Parser(
        "emo-prepare",
        description="Makes training data for emo-train.",
        epilog=EPILOG,
        renamed={"--styled": "--stylized-ratio", "--made-up": "--recolored-lips-ratio"},
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    footage = kinds.add_parser("footage", help="many videos -> clips, their shards, and a page that shows them")
    videos = kinds.add_parser("videos", help="many videos -> a clip of each talking face")
    stills = kinds.add_parser("stills", help="pictures of faces -> clips in which they talk")
    shards = kinds.add_parser("shards", help="folders of clips -> WebDataset shards and index.parquet")
    report = kinds.add_parser("report", help="folders of clips -> a page that shows the clips and the rejected ones")
    add_heads_arguments(
        kinds.add_parser(
            "heads", help="photographs on a 3D head that speak, sing and move, each clip with its ground truth"
        )
    )
    synth = kinds.add_parser("synth", help="drawn talking heads, each with its ground truth in a file")
    for kind in (footage, videos):
        add_footage_options(kind)
    footage.add_argument("shards", help="where the shards, index.parquet and report.html go")
    footage.add_argument(
        "--work", type=Path, help="where the clips go (default SHARDS/clips); needed for a remote SHARDS"
    )
    stills.add_argument("folder", type=Path, help="the faces; a manifest.csv in it may name file,license")
    for kind in (videos, stills):
        kind.add_argument("out", type=Path, help="where the clips go; existing clips are not made again")
    for kind in (footage, videos, stills):
        kind.add_argument("--size", type=integer(64, 4096), default=512, help="pixels of the square crop (default 512)")
        kind.add_argument("--hold-out", help="text file of people to leave out, one a line")
    stills.add_argument("--labels", type=Path, required=True, help="the faces' landmarks, from emo.preparation.labels")
    stills.add_argument(
        "--drivers", type=Path, nargs="+", required=True, help="folders of clips that were made with --labels"
    )
    stills.add_argument("--frames", type=integer(1), default=50, help="length of a clip in frames (default 50)")
    stills.add_argument("--takes", type=integer(1), default=1, help="clips of one face (default 1)")
    stills.add_argument(
        "--stylized-ratio",
        type=number(0, 1),
        default=0.0,
        help="share of clips that are recolored and degraded, three of ten of these also stylized",
    )
    stills.add_argument(
        "--recolored-lips-ratio", type=number(0, 1), default=0.0, help="share of clips whose lips are recolored"
    )
    add_synth_options(synth)
    for kind in (shards, report):
        kind.add_argument("clips", nargs="+", help="folders of clips")
        kind.add_argument("out", type=Path, help="folder of the shards" if kind is shards else "the HTML file")
    for kind in (footage, shards):
        kind.add_argument("--megabytes", type=number(0.001, 1e6), default=1000.0, help="size of a shard (default 1000)")
        kind.add_argument(
            "--validation", type=number(0, 1), help="share of the people for validation (default: the recipe's, or 0)"
        )
    return parser


def add_footage_options(kind: argparse.ArgumentParser) -> None:
    """Add the options that the kinds footage and videos share.

    Args:
        kind: Parser of the kind.
    """
    kind.add_argument("raw", help="the footage; a manifest.csv in it may name file,speaker,license,source")
    kind.add_argument("--recipe", type=Path, help="a description of the footage, such as datasets/grid.yaml")
    kind.add_argument(
        "--list", type=Path, help="list of files and times that comes with the footage; the recipe describes its format"
    )
    kind.add_argument(
        "--limits", nargs="+", default=[], help="clip limits, such as min_speech_ratio=0 (see docs/data.md)"
    )
    kind.add_argument(
        "--labels", type=Path, help="landmarks from emo.preparation.labels, to drive stills with the clips"
    )
    kind.add_argument(
        "--vocals", metavar="MODEL", help="separate voices from music by a Demucs model: htdemucs, or a file of weights"
    )
    kind.add_argument(
        "--syncnet",
        metavar="FILE_OR_HUB_ID",
        help="syncnet_v2.model, or OWNER/NAME/FILE of the Hub: judges lip sync in place of the built-in scorer",
    )
    kind.add_argument("--per-person", type=integer(1), help="at most so many files of one person")
    kind.add_argument("--workers", type=integer(1), default=os.cpu_count(), help="cores (default all); above 1: Ray")
    kind.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")


def add_synth_options(synth: argparse.ArgumentParser) -> None:
    """Add the options of the kind synth.

    Args:
        synth: Parser of the kind.
    """
    synth.add_argument("out", type=Path, help="where the videos go; existing videos are not made again")
    speech = synth.add_mutually_exclusive_group(required=True)
    speech.add_argument("--text", type=Path, help="a text file, a sentence a line, spoken by eSpeak NG")
    speech.add_argument("--sounds", type=Path, nargs="+", help="recordings; the mouth follows their loudness")
    synth.add_argument("--count", type=integer(1), help="how many videos (default: one of each sentence or recording)")
    synth.add_argument("--size", type=integer(64, 4096), default=512, help="pixels of a side (default 512)")
    synth.add_argument("--seconds", type=number(0.04, 36000), help="longest video (default 60)")
    synth.add_argument("--seed", type=integer(0), default=0, help="another seed gives other faces and voices")


def prepare_footage(args: argparse.Namespace) -> None:
    """Make clips, shards and a report of many videos, and upload them where the output is remote.

    Args:
        args: Arguments of the kind footage.

    Raises:
        InputError: An input or option can't be used, or a remote output is given without --work.
    """
    from emo.core.errors import InputError
    from emo.core.storage import is_local, upload_files
    from emo.data.shards import write_shards
    from emo.preparation.report import write_report
    from emo.preparation.sources import read_recipe

    local = is_local(args.shards)
    if not local and args.work is None:
        raise InputError(
            f"{args.shards} is not on this machine: give --work FOLDER for the clips and shards before the upload"
        )
    here = Path(args.shards) if local else args.work / "shards"
    args.out = (here if args.work is None else args.work) / "clips"
    prepare_clips(args)
    ratio = args.validation
    if ratio is None:
        ratio = read_recipe(args.recipe).validation if args.recipe else 0.0
    paths = write_shards([str(args.out)], here, int(args.megabytes * 1e6), ratio)
    write_report([args.out], here / "report.html")
    if not local:
        upload_files([*paths, here / "index.parquet", here / "report.html"], args.shards)
    print(f"{args.shards}: {len(paths)} shards; open report.html there")


def prepare_clips(args: argparse.Namespace) -> None:
    """Make a clip of each talking face in many videos and print the number of clips.

    Args:
        args: Arguments of the kinds footage and videos.

    Raises:
        InputError: An input or option can't be used.
    """
    from emo.data.clip import read_hold_out
    from emo.hub.resolve import find_weights_file
    from emo.preparation.clips import PreparationJob
    from emo.preparation.filters import read_limits
    from emo.preparation.runner import prepare_videos
    from emo.preparation.sources import Recipe, list_sources, read_file_list, read_recipe
    from emo.speech.separation import load_vocal_separator

    recipe = read_recipe(args.recipe) if args.recipe else Recipe()
    separate = load_vocal_separator(args.vocals) if args.vocals else None
    syncnet = find_weights_file(args.syncnet) if args.syncnet else None
    job = PreparationJob(args.out, args.labels, args.size, read_limits(recipe.limits, args.limits), separate, syncnet)
    sources = list_sources(args.raw, recipe, list(read_file_list(args.list, recipe)) if args.list else None)
    hold_out = read_hold_out(args.hold_out) | {*recipe.hold_out}
    count = prepare_videos(sources, job, hold_out, args.per_person, args.workers, args.ray)
    print(f"{args.out}: {count} clips")


def prepare_stills(args: argparse.Namespace) -> None:
    """Make clips of photographs that are driven by clips of real people, and print their number.

    Args:
        args: Arguments of the kind stills.

    Raises:
        InputError: An input or option can't be used.
    """
    from emo.preparation.stills import prepare_stills

    count = prepare_stills(
        args.folder,
        args.labels,
        args.out,
        args.size,
        args.hold_out,
        args.drivers,
        args.frames,
        args.takes,
        args.stylized_ratio,
        args.recolored_lips_ratio,
    )
    print(f"{args.out}: {count} clips")


def prepare_synth(args: argparse.Namespace) -> None:
    """Draw synthetic talking heads and print their number.

    Args:
        args: Arguments of the kind synth.

    Raises:
        InputError: An input or option can't be used.
    """
    from emo.synthetic.drawn_footage import draw_videos, list_video_specs, read_sentences

    takes = list_video_specs(read_sentences(args.text) if args.text else [], args.sounds or [], args.count, args.seed)
    print(f"{args.out}: {draw_videos(args.out, takes, args.size, args.seconds)} videos")


def prepare_shards(args: argparse.Namespace) -> None:
    """Write folders of clips as WebDataset shards with their index, and print the number of shards.

    Args:
        args: Arguments of the kind shards.

    Raises:
        InputError: A folder has no clips, or the output can't be used.
    """
    from emo.data.shards import write_shards

    paths = write_shards(args.clips, args.out, int(args.megabytes * 1e6), args.validation or 0.0)
    print(f"{args.out}: {len(paths)} shards")


def prepare_report(args: argparse.Namespace) -> None:
    """Write an HTML page about folders of clips.

    Args:
        args: Arguments of the kind report.

    Raises:
        InputError: A folder has no clips.
    """
    from emo.preparation.report import write_report

    write_report([Path(folder) for folder in args.clips], args.out)
    print(args.out)


def prepare_heads(args: argparse.Namespace) -> None:
    """Make the clips of the set that do not exist yet, and print its length."""
    from emo.preparation.heads import HeadsSettings, prepare_head_clips

    settings = HeadsSettings(
        photos=args.photos.resolve(),
        out=args.out.resolve(),
        face_model=args.face_model.resolve(),
        hours=args.hours,
        size=args.size,
        seed=args.seed,
        part=args.part,
        hold_out=args.hold_out and args.hold_out.resolve(),
        kokoro=args.kokoro and args.kokoro.resolve(),
        drivers=tuple(folder.resolve() for folder in args.drivers),
        clips_per_job=args.clips_per_job,
        seconds=tuple(args.seconds),
        steady_ratio=args.steady_ratio,
        cross_identity_ratio=args.cross_identity_ratio,
    )
    print(f"{args.out}: {prepare_head_clips(settings, args.workers, args.ray):.3f} hours")


KINDS = {
    "footage": prepare_footage,
    "videos": prepare_clips,
    "stills": prepare_stills,
    "heads": prepare_heads,
    "synth": prepare_synth,
    "shards": prepare_shards,
    "report": prepare_report,
}


def main() -> None:
    """Run emo-prepare; without the name of a kind it runs `footage`."""
    given = sys.argv[1:]
    named = not given or given[0] in KINDS or given[0] in ("-h", "--help")
    run(make_parser(), lambda args: KINDS[args.kind](args), given if named else ["footage", *given])


if __name__ == "__main__":
    main()
