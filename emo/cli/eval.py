"""emo-eval: folders of talking heads and of real footage in, figures, a table and a page out."""

import argparse
import os
from pathlib import Path

from emo.cli.main import Parser, run
from emo.core.errors import InputError
from emo.metrics.networks import NETWORKS

EPILOG = """emo-eval MADE ... --reference REAL measures videos; emo-eval --model MODEL --set REAL makes them first, from
the first frame and the sound of each real one. The face that is in sight for the longest is measured. The same command
goes on where it stopped, and knows what it has seen by the content of the files."""

MORE = {
    "deep3d": "; similarity_Lm3D_all.mat lies beside them",
    "lpips": " to --reconstruction",
    "arcface": ", its worst frame and drift",
}


def parser() -> Parser:
    out = Parser("emo-eval", description="Measures talking heads beside real footage.", epilog=EPILOG)
    out.add_argument("generated", type=Path, nargs="*", help="folders of videos, a column of the table each")
    out.add_argument("--reference", type=Path, help="folder of real videos, the same people or others (default: --set)")
    out.add_argument("-o", "--output", type=Path, default=Path("evaluation"), help="a folder (default: evaluation)")
    out.add_argument("--model", help="make videos with it: a folder, a Hub id, or mini; into OUTPUT/generated/")
    out.add_argument("--set", type=Path, help="folder of real videos to make them from, for --model")
    out.add_argument("--window", type=int, help="frames from one window's start to the next's: looks for jumps there")
    out.add_argument("--syncnet", metavar="FILE_OR_HUB_ID", help="its weights, syncnet_v2.model: adds LSE-C and LSE-D")
    for option, network in NETWORKS.items():
        said = f"its weights, {network.file}: adds {network.adds}"
        out.add_argument(f"--{option}", metavar="FILE_OR_HUB_ID", help=said + MORE.get(option, ""))
    out.add_argument("--reconstruction", action="store_true", help="PSNR and SSIM to the real videos of the same names")
    out.add_argument("--controls", action="store_true", help="the real videos frozen, and with another's sound, beside")
    out.add_argument("--workers", type=int, default=os.cpu_count(), help="cores at work (default all); above 1: Ray")
    out.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster whose machines see the same folders")
    return out


def check(args: argparse.Namespace) -> None:
    """Raises InputError for arguments that do not go together."""
    if (args.model is None) != (args.set is None):
        raise InputError("--model and --set go together: the set's pictures and sounds are what the model is given")
    if not args.generated and args.model is None:
        raise InputError("nothing to measure: give folders of videos, or --model and --set")
    if args.reference is None and args.set is None:
        raise InputError("--reference is missing: give a folder of real videos")
    if args.window is not None and args.window < 2:
        raise InputError(f"--window {args.window}: a window has 2 frames or more")
    if args.lpips is not None and not args.reconstruction:
        raise InputError("--lpips compares with the real videos of the same names: give --reconstruction too")
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: give 1 or more")


def make_set(model: str, real: Path, out: Path) -> Path:
    """A video of the model for each real one, from its first frame and its sound; those that are there are kept. The
    folder is named by the end of the model's path: many runs end in `model`."""
    import torch

    from emo.core.timing import FPS
    from emo.hub.resolve import load_pipeline
    from emo.media.audio import stream_audio
    from emo.media.video import read_video
    from emo.media.video_writer import VideoWriter
    from emo.metrics.tracks import list_videos, make_folder

    folder, videos, pipeline = (
        make_folder(out / "generated" / "_".join(Path(model).parts[-3:]).strip("/")),
        list_videos(real),
        load_pipeline(model),
    )
    pipeline.set_progress_bar_config(disable=True)
    for video in videos:
        made = folder / f"{video.stem}.mp4"
        if made.exists():
            continue
        sound = stream_audio(video, pipeline.audio_encoder.sample_rate)
        frames = pipeline.stream(next(read_video(video)), sound, fps=FPS, generator=torch.Generator().manual_seed(0))
        with VideoWriter(made, FPS, video) as writer:
            for frame in frames:
                writer.write(frame)
        print(made, flush=True)
    return folder


def networks(args: argparse.Namespace) -> dict[str, Path]:
    """The files of the weights that were given, by their options. Raises InputError."""
    from emo.hub.resolve import find_weights

    given = {name: getattr(args, name) for name in NETWORKS if getattr(args, name) is not None}
    return {name: find_weights(what, f"--{name}", NETWORKS[name].file) for name, what in given.items()}


def evaluate(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from emo.core.parallel import each
    from emo.hub.resolve import find_weights
    from emo.metrics.registry import Asked
    from emo.metrics.report import rows
    from emo.metrics.runner import evaluate

    check(args)
    syncnet = args.syncnet and find_weights(args.syncnet)
    asked = Asked(args.window, syncnet, args.controls, networks(args), args.reconstruction)

    def watched(work, videos):
        return tqdm(each(work, videos, args.workers, args.ray), total=len(videos), unit="video", dynamic_ncols=True)

    made = [make_set(args.model, args.set, args.output)] if args.model else []
    report = evaluate([*args.generated, *made], args.reference or args.set, args.output, asked, watched)
    for one, score in zip(report.sets, rows(report)[0][2:], strict=False):
        print(f"{one.name}: score {score}")
    print(f"{args.output}: report.html, report.json, table.md, card.md")


def main() -> None:
    run(parser(), evaluate)


if __name__ == "__main__":
    main()
