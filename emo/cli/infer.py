"""emo-infer: generate a talking video from a portrait and a sound."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emo.cli.command import Parser, run
from emo.cli.jobs import add_jobs_options, run_jobs
from emo.cli.options import face_box, integer, named_numbers, number, numbers, square_size
from emo.core.errors import InputError
from emo.core.files import shorten_name

if TYPE_CHECKING:
    from emo.generation import GenerationResult
    from emo.pipelines.emo import EMOPipeline
    from emo.provenance.content_credentials import Certificate

PARAMETERS = {  # of emo.generate and load_pipeline -> option
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "head_speed": "--speed",
    "head_pose": "--pose",
    "head_pose_offset": "--pose",
    "condition_scales": "--control-guidance",
    "start_seconds": "--start",
    "duration_seconds": "--duration",
    "crop_only": "--crop",
    "crf": "--quality",
}
SPEECH_NAME = "speech.wav"


def make_parser() -> Parser:
    """Return the parser of emo-infer."""
    about = "Makes a portrait talk or sing."
    parser = Parser("emo-infer", description=about, parameters=PARAMETERS, find_conflict=find_conflict)
    parser.add_argument(
        "image", metavar="portrait", nargs="?", type=Path, help="a picture with a face: PNG, JPEG, WebP, ..."
    )
    formats = "WAV, MP3, M4A, FLAC, OGG, or a video's sound"
    parser.add_argument("audio", metavar="sound", nargs="?", type=Path, help=f"speech or song: {formats}; or --text")
    parser.add_argument("-o", "--output", type=Path, help="an .mp4 file (default: PORTRAIT_SOUND.mp4 here)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    add_text_options(parser)
    add_jobs_options(parser)
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="mini", help="folder or Hub id, see emo-models (default: mini, built in)")
    model.add_argument("--revision", help="branch, tag or commit of a model of the Hub")
    model.add_argument("--lora", help="LoRA adapters that emo-train made for the model: a folder or Hub id")
    model.add_argument("--device", help="cpu, cuda, mps, ... (default: the best available)")
    model.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="(default float32)"
    )
    sound = parser.add_argument_group("sound")
    sound.add_argument("--start", type=number(0, 1e6), default=0.0, help="where in the sound to begin, seconds")
    sound.add_argument("--duration", type=number(0, 1e6), help="how much of the sound to use, seconds (default: all)")
    motion = parser.add_argument_group("motion")
    motion.add_argument("--steps", type=integer(1, 1000), help="denoising steps per window (default: the model's)")
    motion.add_argument(
        "--guidance",
        type=number(0, 20),
        help="classifier-free guidance on the sound; 1: off (default: the model's)",
    )
    motion.add_argument(
        "--speed",
        type=number(0.1, 1.5),
        help="head speed, rad/s: 0.1 to 1.0 speech, to 1.5 song (default: the model chooses)",
    )
    motion.add_argument(
        "--control-guidance",
        type=named_numbers(),
        metavar="NAME:SCALE",
        help="classifier-free guidance on controls, such as gaze:2,emotion:1.5",
    )
    motion.add_argument(
        "--seed", type=integer(0, 2**63 - 1), default=0, help="the same seed gives the same frames (default 0)"
    )
    controls = parser.add_argument_group("controls, for models that have them")
    controls.add_argument(
        "--gaze",
        type=numbers("yaw", "pitch"),
        metavar="YAW,PITCH",
        help="of the eyes in the head, degrees to the picture's left and up",
    )
    controls.add_argument(
        "--pose",
        type=numbers("yaw", "pitch", "roll", optional=1),
        metavar="YAW,PITCH[,ROLL]",
        help="of the head, added to the portrait's: degrees to the picture's left, up, clockwise (default: it moves)",
    )
    controls.add_argument(
        "--distance",
        type=numbers("ratio"),
        metavar="RATIO",
        help="from the camera, over the portrait's: 0.8 is nearer",
    )
    controls.add_argument(
        "--emotion",
        type=named_numbers(1.0),
        metavar="NAME:STRENGTH",
        help="strength 0 to 1: neutral, happy, sad, angry, surprised, afraid, disgusted; several with commas",
    )
    controls.add_argument("--still", action="store_true", help="the head keeps the portrait's pose and place")
    controls.add_argument("--controls", type=Path, help="a .csv or .json file of controls over time")
    controls.add_argument("--drive", type=Path, metavar="VIDEO", help="put the motion of this video on the portrait")
    picture = parser.add_argument_group("picture")
    picture.add_argument(
        "--face", type=face_box, help="x0,y0,x1,y1 in pixels, forehead to chin; full: the picture is a face crop"
    )
    picture.add_argument("--arcface", help="ArcFace weights, for models that take an identity (see emo-convert)")
    picture.add_argument(
        "--size", type=square_size, help="pixels of the animated square, 64, 128, ... (default: the model's)"
    )
    picture.add_argument("--crop", action="store_true", help="write only the animated square, not the whole picture")
    picture.add_argument(
        "--max-size", type=integer(64, 16384), help="longest side of the video in pixels; a larger picture is shrunk"
    )
    add_mark_options(parser)
    video = parser.add_argument_group("video")
    video.add_argument("--fps", type=number(1, 120), default=25.0, help="frames per second (default 25)")
    video.add_argument(
        "--preset", choices=["default", "share"], default="default", help="share: small, for messengers and old phones"
    )
    video.add_argument("--quality", type=number(0, 51), metavar="CRF", help="0 (lossless) to 51 (small); see --preset")
    return parser


def add_mark_options(parser: Parser) -> None:
    """Add the options of visible labels and signatures; the watermark has none, it is always there."""
    marks = parser.add_argument_group("marks")
    marks.add_argument(
        "--label", nargs="?", const="AI-generated", metavar="TEXT", help="write a text into every frame (AI-generated)"
    )
    marks.add_argument("--label-font", type=Path, metavar="FILE", help=".ttf or .otf, for other than Latin letters")
    marks.add_argument(
        "--certificate", type=Path, metavar="PEM", help="signs the content credentials (default: self-made)"
    )
    marks.add_argument("--certificate-key", type=Path, metavar="PEM", help="private key of --certificate")
    marks.add_argument("--yes", action="store_true", help="do not ask whether the rules of use were read")


def confirm_notice(yes: bool) -> None:
    """Say once what is allowed; ask where a person sits at the terminal.

    Args:
        yes: Do not ask.

    Raises:
        InputError: The user says no.
    """
    from emo.provenance.policy import NOTICE, needs_notice, remember_notice

    if not needs_notice():
        return
    print(f"emo-infer: {NOTICE}", file=sys.stderr)
    if not yes and sys.stdin.isatty() and input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError("stopped: nothing was made")
    remember_notice()


def read_certificate(args: argparse.Namespace) -> "Certificate | None":
    """Return the certificate that the options name. Raises InputError where one of the two is missing."""
    from emo.provenance.content_credentials import Certificate

    if (args.certificate is None) != (args.certificate_key is None):
        raise InputError("--certificate and --certificate-key belong together: give both")
    return None if args.certificate is None else Certificate(args.certificate, args.certificate_key)


def name_output(args: argparse.Namespace) -> Path:
    """Return the file to write: what the user names, else PORTRAIT_SOUND.mp4 in the current folder.

    Args:
        args: Arguments with output, image and audio.

    Returns:
        The path; a name that is not the user's is shortened to the length that file systems allow.
    """
    sound = args.audio or Path(SPEECH_NAME)
    return args.output or Path(shorten_name(f"{args.image.stem}_{sound.stem}", ".mp4"))


def collect_controls(args: argparse.Namespace) -> dict:
    """Return the controls that options and the controls file ask for.

    Args:
        args: Arguments of `make_parser`.

    Returns:
        `controls` of `emo.generation.generate`.

    Raises:
        InputError: A number is out of range, a name is unknown, the file is none, or a control is given twice.
    """
    from emo.pipelines.control_files import COLUMNS, convert_columns, read_controls

    controls = read_controls(args.controls, args.fps) if args.controls else {}
    in_file = {*controls}
    for option in ("gaze", "pose", "distance", "emotion"):
        given = getattr(args, option) or {}
        columns = {option if option == "distance" else f"{option}_{name}": value for name, value in given.items()}
        if unknown := [name for name in columns if name not in COLUMNS]:
            known = [name.removeprefix(f"{option}_") for name in COLUMNS if name.startswith(option)]
            raise InputError(f"--{option}: {unknown[0].removeprefix(f'{option}_')!r} is none of {', '.join(known)}")
        for name, value in convert_columns(columns, f"--{option}").items():
            if name in in_file:
                raise InputError(f"--{option} is given twice, also in {args.controls}: give it once")
            controls[name] = value
    if args.speed is not None and "head_speed" in in_file:
        raise InputError(f"--speed is given twice, also in {args.controls}: give it once")
    return controls


@contextmanager
def show_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yield an `on_frame` function that draws a progress bar from its first call on."""
    from tqdm import tqdm

    bars = []

    def on_frame(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, unit="frame", desc=name, dynamic_ncols=True))
        bars[0].update(done - bars[0].n)

    try:
        yield on_frame
    finally:
        for bar in bars:
            bar.close()


def infer(args: argparse.Namespace) -> None:
    """Generate one video, or those of a file of jobs.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: An input or option can't be used, see `emo.generation.generate`.
    """
    if args.jobs is not None:
        return run_jobs(args, make_parser, make_video, name_output)

    def load():
        from diffusers.utils import logging

        from emo.hub.resolve import load_pipeline

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return load_pipeline(args.model, args.device, args.dtype, args.revision, args.lora)

    make_video(args, load)


def make_video(args: argparse.Namespace, load: "Callable[[], EMOPipeline]") -> "tuple[Path, GenerationResult]":
    """Generate a video, show the progress, and print its length and speed.

    Args:
        args: Arguments of `make_parser`.
        load: Loads the model, after the inputs were checked.

    Returns:
        The file, and what `emo.generation.generate` returns.

    Raises:
        InputError: An input or option can't be used.
    """
    from tqdm import tqdm

    from emo.generation import generate

    def show_warning(text: str) -> None:
        tqdm.write(f"emo-infer: warning: {make_parser().name_options(text, args)}", file=sys.stderr)

    certificate = read_certificate(args)
    confirm_notice(args.yes)
    controls = collect_controls(args)
    output = name_output(args)
    with open_sound(args) as sound, show_progress(output.name) as on_frame:
        result = generate(
            args.image,
            sound,
            output,
            pipeline=load,
            fps=args.fps,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            condition_scales=args.control_guidance,
            head_speed=args.speed,
            controls=controls or None,
            still=args.still,
            drive=args.drive,
            size=args.size,
            crop_only=args.crop,
            face=args.face,
            arcface=args.arcface,
            generator=args.seed,
            start_seconds=args.start,
            duration_seconds=args.duration,
            overwrite=args.overwrite,
            preset=args.preset,
            crf=args.quality,
            max_size=args.max_size,
            label=args.label,
            label_font=args.label_font,
            certificate=certificate,
            on_frame=on_frame,
            on_warning=show_warning,
        )
    print(
        f"{output}: {result.num_frames} frames, {result.seconds_per_frame:.3f} s per frame, "
        f"real-time factor {result.real_time_factor:.2f}, watermark {result.payload}"
    )
    return output, result


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add --text, --tts and --voice.

    Args:
        parser: The parser.
    """
    speech = parser.add_argument_group("text")
    speech.add_argument("--text", help="what the portrait says, in place of a sound")
    speech.add_argument("--tts", metavar="URL", help="speech server with OpenAI's API (default: hibari-tts, English)")
    speech.add_argument("--voice", metavar="NAME", help="a voice of the speech synthesizer (default: its own)")


def find_conflict(args: argparse.Namespace) -> str | None:
    """Check the combination of inputs.

    Args:
        args: Arguments with image, audio, text, tts, voice and jobs.

    Returns:
        What is wrong; None where nothing is.
    """
    if args.jobs is not None:
        given = args.image is not None or args.text is not None or args.output is not None
        return "--jobs names portraits, sounds and outputs in its file: leave them out" if given else None
    if args.image is None:
        return "the following arguments are required: portrait, sound"
    if args.audio is None and args.text is None:
        return "the following arguments are required: sound, or --text"
    if args.audio is not None and args.text is not None:
        return "give either a sound or --text, and not both"
    if args.text is None and (args.tts is not None or args.voice is not None):
        return "--tts and --voice need --text"
    return None


@contextmanager
def open_sound(args: argparse.Namespace) -> Iterator[Path]:
    """Open the sound: the given file, or the spoken text for as long as it is needed.

    Args:
        args: Arguments with audio, text, tts and voice.

    Yields:
        The file.

    Raises:
        InputError: The text can't be spoken.
    """
    if args.text is None:
        yield args.audio
        return
    from emo.media.audio import write_wav
    from emo.speech.synthesis import load_synthesizer

    speech = load_synthesizer(args.tts).synthesize(args.text, "en-US", args.voice)
    with TemporaryDirectory() as folder:
        path = Path(folder) / SPEECH_NAME
        write_wav(path, speech.wave, speech.sample_rate)
        yield path


def main() -> None:
    """Run emo-infer."""
    run(make_parser(), infer)


if __name__ == "__main__":
    main()
