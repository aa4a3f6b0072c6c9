"""emo-dub: new words in an existing video, for one speaker or many."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import integer, number
from emo.core.errors import InputError
from emo.core.files import shorten_name


def make_parser() -> Parser:
    """Return the parser of emo-dub's arguments."""
    parser = Parser(
        "emo-dub",
        description="New words in an existing video: mouths follow the new sound, everything else stays.",
    )
    parser.add_argument("film", type=Path, help="video: mp4, mov, mkv, webm, avi, ts, ...")
    parser.add_argument("sound", type=Path, nargs="?", help="new sound, with all voices; it starts with the film")
    parser.add_argument("-o", "--output", type=Path, help="video to write (default: FILM_SOUND in this folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    who = parser.add_argument_group("who speaks")
    who.add_argument(
        "--speaker",
        type=named_sound,
        action="append",
        default=[],
        metavar="NAME=FILE[@FRAME:X,Y]",
        help="new sound of one speaker, and a point on the face; repeat for each",
    )
    who.add_argument("--face", type=face_point, metavar="FRAME:X,Y", help="change only the face at this point")
    who.add_argument("--rttm", type=Path, help="who speaks when in the film, as RTTM")
    who.add_argument("--plan", type=Path, help="plan.json: written and nothing else if it is missing, else followed")
    what = parser.add_argument_group("what is changed")
    what.add_argument("--only", type=span, metavar="START-END", help="seconds; outside, picture and sound stay")
    what.add_argument(
        "--sync-mode",
        choices=["silence", "cut", "loop", "bounce"],
        default="silence",
        help="where lengths differ: silence after the sound; cut both; loop the film, or play it back and forth",
    )
    what.add_argument(
        "--keep-background",
        nargs="?",
        const="htdemucs",
        metavar="MODEL",
        help="keep the film's sound without its voices under the new ones (extra vocals; a Demucs model)",
    )
    what.add_argument("--crf", type=number(0, 51), default=16.0, help="quality of what is encoded again (default 16)")
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="mini", help="name, folder or Hub id of a model with motion latents")
    model.add_argument("--revision", help="branch, tag or commit of a Hub id")
    model.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    model.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="(default float32)"
    )
    model.add_argument("--guidance", type=number(0, 20), help="how closely mouths follow the sound; 1: no guidance")
    model.add_argument("--seed", type=integer(0, 2**63 - 1), default=0, help="the same seed gives the same video")
    marks = parser.add_argument_group("marks")
    marks.add_argument(
        "--certificate", type=Path, metavar="PEM", help="signs the content credentials (default: self-made)"
    )
    marks.add_argument("--certificate-key", type=Path, metavar="PEM", help="private key of --certificate")
    marks.add_argument("--yes", action="store_true", help="do not ask whether the rules of use were read")
    return parser


def face_point(text: str) -> tuple[int, float, float]:
    """Parse FRAME:X,Y. Raises ArgumentTypeError for any other text."""
    match = re.fullmatch(r"(\d+):(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not FRAME:X,Y, such as 0:320,240")
    return int(match[1]), float(match[2]), float(match[3])


def named_sound(text: str) -> tuple[str, Path, tuple[int, float, float] | None]:
    """Parse NAME=FILE or NAME=FILE@FRAME:X,Y. Raises ArgumentTypeError for any other text."""
    name, _, rest = text.partition("=")
    if not name or not rest:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, such as ANNA=anna_fr.wav")
    file, at, place = rest.rpartition("@")
    if at and re.fullmatch(r"\d+:[\d.]+,[\d.]+", place):
        return name, Path(file), face_point(place)
    return name, Path(rest), None


def span(text: str) -> tuple[float, float]:
    """Parse START-END in seconds. Raises ArgumentTypeError for any other text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not START-END in seconds, such as 10-25")
    return float(match[1]), float(match[2])


def default_output(film: Path, sound: Path | None) -> Path:
    """Name the new film where the user gives no name.

    Args:
        film: The film.
        sound: The new sound; None: several.

    Returns:
        FILM_SOUND or FILM_dubbed, in the current folder.
    """
    return Path(shorten_name(f"{film.stem}_{sound.stem if sound else 'dubbed'}", film.suffix or ".mp4"))


@contextmanager
def show_stages() -> Iterator[Callable[[str, int, int], None]]:
    """Yield an `on_progress` function that draws a bar for each stage, with the time left."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total, desc=stage, dynamic_ncols=True)
        bars[stage].update(done - bars[stage].n)

    try:
        yield on_progress
    finally:
        for bar in bars.values():
            bar.close()


def dub(args: argparse.Namespace) -> None:
    """Write the plan, or dub the film.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: An input or option can't be used, see `emo.dubbing.pipeline.DubbingPipeline`.
    """
    if args.sound is None and not args.speaker:
        raise InputError("no new sound: give a sound file, or --speaker NAME=FILE for each speaker")
    if args.sound is not None and args.speaker:
        raise InputError("a common sound and --speaker exclude each other: give one of them")

    from tqdm import tqdm

    from emo.cli.infer import confirm_notice, read_certificate
    from emo.dubbing.diarization import read_rttm
    from emo.dubbing.pipeline import DubbingPipeline
    from emo.dubbing.plan import FacePoint, NewVoice, PlanRequest

    def load():
        from diffusers.utils import logging

        from emo.dubbing.mouth import MotionLatentEngine
        from emo.hub.resolve import load_pipeline

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return MotionLatentEngine(load_pipeline(args.model, args.device, args.dtype, args.revision), args.guidance)

    def warn(line: str) -> None:
        tqdm.write(f"emo-dub: warning: {make_parser().name_options(line, args)}", file=sys.stderr)

    voices = [NewVoice(name, path, point and FacePoint(*point)) for name, path, point in args.speaker]
    face = FacePoint(*args.face) if args.face else None
    turns = read_rttm(args.rttm) if args.rttm else None
    request = PlanRequest(args.sound, voices, face, turns, args.only)
    pipeline = DubbingPipeline(load, label=f"{args.model} {args.revision} {args.guidance}")
    with show_stages() as on_progress:
        if args.plan is not None and not args.plan.exists():
            plan = pipeline.plan(args.film, request, args.plan, on_progress=on_progress)
            speaking = sum(one.speaker is not None for one in plan.faces)
            page = args.plan.with_suffix(".html")
            summary = f"{len(plan.speakers)} speakers, {len(plan.faces)} faces, {speaking} of which speak"
            tqdm.write(f"{args.plan}: {summary}; look at {page}, then give the same command again")
            return
        confirm_notice(args.yes)
        separate = None
        if args.keep_background is not None:
            from emo.speech.separation import load_vocal_separator

            separate = load_vocal_separator(args.keep_background)
        output = args.output or default_output(args.film, args.sound)
        result = pipeline(
            args.film,
            request,
            output,
            plan=args.plan,
            sync_mode=args.sync_mode,
            crf=args.crf,
            separate=separate,
            seed=args.seed,
            certificate=read_certificate(args),
            overwrite=args.overwrite,
            on_progress=on_progress,
            on_warning=warn,
        )
    counts = f"{result.num_frames} frames, a face changed in {result.changed_frames}, {result.copied_frames} copied"
    print(f"{output}: {counts}")


def main() -> None:
    """Run emo-dub."""
    run(make_parser(), dub)


if __name__ == "__main__":
    main()
