"""emo-eval: measure talking heads against real footage; write figures, a table and a page."""

import argparse
import os
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import integer
from emo.core.errors import InputError
from emo.metrics.networks.catalog import NETWORKS

EPILOG = """emo-eval GENERATED ... --reference REAL measures videos; emo-eval --model MODEL --set REAL generates them
first, from the first frame and the sound of each real video. The face that is visible for the longest time is measured.
The same command resumes an evaluation; results are reused by the content of the files."""


def make_parser() -> Parser:
    """Return the parser of emo-eval."""
    parser = Parser("emo-eval", description="Measures generated talking heads against real footage.", epilog=EPILOG)
    parser.add_argument("generated", type=Path, nargs="*", help="folders of videos, a column of the table each")
    parser.add_argument(
        "--reference",
        type=Path,
        help="folder of real videos, the same people or others (default: --set); without one there is no score",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("evaluation"), help="a folder (default: evaluation)")
    parser.add_argument(
        "--model", help="model that generates the videos into OUTPUT/generated/: a folder, a Hub id, or mini"
    )
    parser.add_argument(
        "--set", type=Path, help="with --model: folder of real videos that give the portraits and sounds"
    )
    parser.add_argument(
        "--portraits",
        type=Path,
        help="folder of the pictures that videos PICTURE.mp4 or PICTURE_SOUND.mp4 were made from: adds sharpness over "
        "the picture's (default with --model: the first frames of --set)",
    )
    parser.add_argument(
        "--asked",
        type=Path,
        help="folder of files of emo-infer --controls, named like the videos: adds errors and responses",
    )
    parser.add_argument(
        "--window", type=integer(2), help="frames from one window's start to the next's: measures jumps there"
    )
    parser.add_argument(
        "--syncnet", metavar="FILE_OR_HUB_ID", help="SyncNet's weights, syncnet_v2.model: adds LSE-C and LSE-D"
    )
    for name, network in NETWORKS.items():
        text = f"weights of the network, {network.file}: adds {network.adds}{network.note}"
        parser.add_argument(f"--{name}", metavar="FILE_OR_HUB_ID", help=text)
    parser.add_argument(
        "--reconstruction", action="store_true", help="PSNR and SSIM to the real videos of the same names"
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also measure the real videos as frozen pictures, and with another video's sound",
    )
    parser.add_argument(
        "--montage",
        action="store_true",
        help="videos of the best and worst clips beside the real ones of the same names, into OUTPUT/montages/",
    )
    parser.add_argument("--workers", type=integer(1), default=os.cpu_count(), help="cores (default all); above 1: Ray")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Check that the arguments go together. Raises InputError."""
    if (args.model is None) != (args.set is None):
        raise InputError("--model and --set go together: the set gives the portraits and sounds")
    if not args.generated and args.model is None:
        raise InputError("nothing to measure: give folders of videos, or --model and --set")
    if args.montage and args.reference is None and args.set is None:
        raise InputError("--montage needs real videos: give them with --reference")
    for name in ("portraits", "asked"):
        if (folder := getattr(args, name)) is not None and not folder.is_dir():
            raise InputError(f"--{name} {folder} is not a folder")
    if args.lpips is not None and not args.reconstruction:
        raise InputError("--lpips needs --reconstruction: it compares with the real videos of the same names")


def generate_set(model: str, real: Path, out: Path) -> Path:
    """Make a video for each real one, from its first frame and its sound; videos that exist are not made again.

    Args:
        model: Built-in name, folder or Hub id of the model.
        real: Folder of real videos.
        out: Folder of the evaluation; the videos go into its subfolder `generated`, their portraits into `portraits`.

    Returns:
        The folder of the videos, named by the last three parts of the model's path: many runs end in `model`.

    Raises:
        InputError: The model or a video can't be used.
    """
    from PIL import Image

    from emo.core.timing import FPS
    from emo.generation import generate
    from emo.hub.resolve import load_pipeline
    from emo.media.video import read_video
    from emo.metrics.runner import list_videos, make_folder

    folder = make_folder(out / "generated" / "_".join(Path(model).parts[-3:]).strip("/"))
    portraits = make_folder(out / "portraits")
    videos, pipeline = list_videos(real), load_pipeline(model)
    for video in videos:
        output, portrait = folder / f"{video.stem}.mp4", portraits / f"{video.stem}.png"
        if not (output.exists() and portrait.exists()):
            picture = next(read_video(video))
            Image.fromarray(picture).save(portrait)
        if not output.exists():
            generate(picture, video, output, pipeline=pipeline, fps=FPS, preset="dataset", on_warning=lambda _: None)
            print(output, flush=True)
    return folder


def find_networks(args: argparse.Namespace) -> dict[str, Path]:
    """Find the weights of the requested networks, by their names. Raises InputError."""
    from emo.hub.resolve import find_weights_file

    given = {name: getattr(args, name) for name in NETWORKS if getattr(args, name) is not None}
    return {name: find_weights_file(value, f"--{name}", NETWORKS[name].file) for name, value in given.items()}


def evaluate(args: argparse.Namespace) -> None:
    """Measure the folders of videos, print their scores and write the reports.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: An argument, a video or weights can't be used.
    """
    from tqdm import tqdm

    from emo.core.parallel import map_parallel
    from emo.hub.resolve import find_weights_file
    from emo.metrics.montage import check_moviepy, check_references, write_montages
    from emo.metrics.registry import EvaluationOptions
    from emo.metrics.report import table_rows
    from emo.metrics.runner import evaluate, list_videos

    check_arguments(args)
    if args.montage:
        check_moviepy()

    options = EvaluationOptions(
        args.window,
        find_weights_file(args.syncnet) if args.syncnet else None,
        args.controls,
        find_networks(args),
        args.reconstruction,
        args.portraits or (args.output / "portraits" if args.model else None),
        args.asked,
    )

    def map_groups(work, groups):
        results = map_parallel(work, groups, args.workers, args.ray)
        return tqdm(results, total=len(groups), unit="video", dynamic_ncols=True)

    generated = [*args.generated, *([generate_set(args.model, args.set, args.output)] if args.model else [])]
    real = args.reference or args.set
    if args.montage:
        check_references([list_videos(folder) for folder in generated], list_videos(real))
    report = evaluate(generated, real, args.output, options, map_groups)
    for one, score in zip(report.sets, table_rows(report)[0][2:] if real else [], strict=False):
        print(f"{one.name}: score {score}")
    print(f"{args.output}: report.html, gallery.html, report.json, table.md, card.md")
    if args.montage:
        videos = [list_videos(folder) for folder in generated]
        for path in write_montages(report, videos, list_videos(real), args.output):
            print(path)


def main() -> None:
    """Run emo-eval."""
    run(make_parser(), evaluate)


if __name__ == "__main__":
    main()
