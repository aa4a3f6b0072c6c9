"""emo-infer --jobs: many videos from one file of jobs, one JSON object a line.

    {"portrait": "anna.png", "sound": "hello.wav", "output": "out/anna.mp4", "seed": 3}
    {"portrait": "ben.png", "text": "Good morning.", "steps": 2}

Further keys are the options of emo-infer without their dashes; what the command line gives holds for every job. Each
job gets one line in the result file. Another run of the same command makes what is missing or failed.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache, partial
from pathlib import Path
from typing import Any

from emo.cli.command import Parser
from emo.cli.options import integer
from emo.core.errors import InputError, OutputError
from emo.core.files import remove_partials

COMPLETED, FAILED, STARTED = "completed", "failed", "started"
POSITIONAL = {"portrait": "image", "image": "image", "sound": "audio", "audio": "audio"}
NOT_OF_A_JOB = {"jobs", "results", "workers", "ray"}
Generate = Callable[..., Any]
NameOutput = Callable[[argparse.Namespace], Path]
Job = tuple[str, argparse.Namespace | InputError]  # key and arguments, or the error of the line


def add_jobs_options(parser: argparse.ArgumentParser) -> None:
    """Add --jobs and what belongs to it.

    Args:
        parser: The parser.
    """
    jobs = parser.add_argument_group("many videos")
    jobs.add_argument("--jobs", type=Path, metavar="FILE", help="one JSON object a line: portrait, sound, options")
    jobs.add_argument("--results", type=Path, help="one line a job (default: FILE with .results.jsonl)")
    jobs.add_argument("--workers", type=integer(1, 1024), default=1, help="processes on this machine (default 1)")
    jobs.add_argument("--ray", metavar="ADDRESS", help="a running Ray cluster whose machines see the same files")


def read_jobs(
    path: Path, args: argparse.Namespace, make_parser: Callable[[], Parser], name_output: NameOutput
) -> list[tuple[str, Any]]:
    """Read the file of jobs.

    Args:
        path: The file.
        args: Arguments that hold for every job.
        make_parser: Makes the parser of the options.
        name_output: Returns the file that a job writes.

    Returns:
        For each job its key, a hash of its line, and its arguments, or the InputError of a line that can't be used.

    Raises:
        InputError: The file can't be read, or holds no job.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'})") from error
    jobs, writers = [], {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                parsed: Any = parse_job(line, args, make_parser())
                parsed.output = name_output(parsed)
                if (writer := writers.setdefault(parsed.output.absolute(), number)) != number:
                    raise InputError(f"line {writer} writes {parsed.output}, too; give every job another output")
            except InputError as error:
                parsed = InputError(f"line {number}: {error}")
            jobs.append((hashlib.blake2b(line.strip().encode(), digest_size=8).hexdigest(), parsed))
    if not jobs:
        raise InputError(f'{path} holds no job: write lines such as {{"portrait": "a.png", "sound": "a.wav"}}')
    if len({key for key, _ in jobs}) < len(jobs):
        raise InputError(f"{path} holds the same line twice: remove one of the two")
    return jobs


def parse_job(line: str, args: argparse.Namespace, parser: Parser) -> argparse.Namespace:
    """Parse a line as emo-infer parses its arguments.

    Args:
        line: JSON of the job.
        args: The command's own arguments, the job's where it does not name others.
        parser: The command's parser.

    Returns:
        Arguments of the job.

    Raises:
        InputError: The line is no job.
    """
    try:
        job = json.loads(line)
    except ValueError as error:
        raise InputError(f"it is not JSON ({error})") from error
    if not isinstance(job, dict):
        raise InputError("it is no JSON object")

    def refuse(message: str):
        raise InputError(message)

    parser.error = refuse
    words = []
    for name, value in job.items():
        option = f"--{name.replace('_', '-')}"
        if name in NOT_OF_A_JOB or name not in POSITIONAL and option not in parser._option_string_actions:
            raise InputError(f"{name} is no option of a job")
        if name in POSITIONAL or value is None or value is False:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [option] if value is True else [f"{option}={text}"]
    inputs = {POSITIONAL[name]: str(value) for name, value in job.items() if name in POSITIONAL}
    if unknown := inputs.keys() - {"image"} and "image" not in inputs:
        raise InputError(f"the portrait is missing beside {unknown}")
    common = copy(args)
    common.jobs = None
    return parser.parse_args([*words, "--", *(inputs[name] for name in ("image", "audio") if name in inputs)], common)


def read_results(path: Path) -> tuple[set[str], set[str]]:
    """Return the keys of the jobs that earlier runs completed, and of those that they began to write, completed or not.

    A line that was cut off is left out, and so are bytes that are no text.
    """
    statuses: dict[str, str] = {}
    begun = set()
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                statuses[record["key"]] = record["status"]
            except (ValueError, KeyError, TypeError):
                continue
            if record["status"] != FAILED:
                begun.add(record["key"])
    return {key for key, status in statuses.items() if status == COMPLETED}, begun


@cache
def load_model(model: str, device: str | None, dtype: str, revision: str | None, lora: str | None):
    """Load a pipeline once a process.

    Args:
        model: Built-in name, folder or Hub id.
        device: cpu, cuda, mps, ...; None: the best available.
        dtype: float32, bfloat16 or float16.
        revision: Branch, tag or commit of a model of the Hub.
        lora: Folder or Hub id of adapters; None: none.

    Returns:
        The pipeline.

    Raises:
        InputError: The model or adapters can't be loaded.
    """
    from emo.hub.resolve import load_pipeline

    return load_pipeline(model, device, dtype, revision, lora)


def run_job(job: Job, generate: Generate) -> dict[str, Any]:
    """Make one video.

    Args:
        job: Key and arguments, or the error of the line.
        generate: Called as generate(args, load) -> (output, GenerationResult).

    Returns:
        The record of the job. Whatever goes wrong with it stands there.
    """
    key, args = job
    if isinstance(args, InputError):
        return record_failure(job, str(args))
    try:
        remove_partials(args.output)  # of a try whose process was killed
        load = partial(load_model, args.model, args.device, args.dtype, args.revision, args.lora)
        output, result = generate(args, load)
    except Exception as error:  # a full disk stops every other job as well, but each says so
        reason = str(error).splitlines()[0] if str(error) else ""
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {reason}"
        return record_failure(job, text)
    record = {"output": str(output), "frames": result.num_frames, "seconds": round(result.elapsed_seconds, 3)}
    return {"key": key, "status": COMPLETED, **name_inputs(args), **record, "warnings": list(result.warnings)}


def record_failure(job: Job, error: str) -> dict[str, Any]:
    """Return the record of a job that failed.

    Args:
        job: Key and arguments, or the error of the line.
        error: One line that says why.

    Returns:
        The record.
    """
    key, args = job
    inputs = {} if isinstance(args, InputError) else name_inputs(args)
    return {"key": key, "status": FAILED, **inputs, "error": error}


def name_inputs(args: argparse.Namespace) -> dict[str, str | None]:
    """Return the job's portrait and sound, as its record names them."""
    return {"portrait": str(args.image), "sound": str(args.audio) if args.audio is not None else None}


def run_jobs(
    args: argparse.Namespace, make_parser: Callable[[], Parser], generate: Generate, name_output: NameOutput
) -> None:
    """Run all jobs that are not completed yet, and print how many are.

    Args:
        args: Arguments of emo-infer with `jobs`.
        make_parser: Makes its parser.
        generate: See `run_job`.
        name_output: Returns the file that a job writes.

    Raises:
        InputError: The file of jobs can't be used, Ray does not answer, or a job failed.
    """
    jobs = read_jobs(args.jobs, args, make_parser, name_output)
    path = args.results or args.jobs.with_suffix(".results.jsonl")
    completed, begun = read_results(path)
    waiting = [job for job in jobs if job[0] not in completed]
    failed = 0
    try:
        with path.open("a", encoding="utf-8") as file:

            def record(line: dict[str, Any]) -> None:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()

            for key, job in waiting:
                if isinstance(job, InputError):
                    continue
                if key in begun:
                    job.overwrite = True  # what an earlier run left
                elif not job.output.exists():
                    record({"key": key, "status": STARTED})
            for result in make_all(waiting, args, generate):
                record(result)
                failed += result["status"] == FAILED
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error.strerror}): choose another --results") from error
    print(f"{path}: {len(jobs) - failed} of {len(jobs)} videos, {len(jobs) - len(waiting)} of them made before")
    if failed:
        raise InputError(f"{failed} of {len(jobs)} jobs failed: {path} says why; the same command tries them again")


def make_all(jobs: list[Job], args: argparse.Namespace, generate: Generate) -> Iterator[dict[str, Any]]:
    """Yield the record of each job when it is over, also of one whose process was killed. Raises InputError."""
    import torch

    from emo.core.parallel import PROCESS_ENDED, LostWorkError, map_parallel

    work = partial(run_job, generate=generate)
    gpus = torch.cuda.is_available() or args.ray is not None
    try:
        for _, result in map_parallel(work, jobs, args.workers, args.ray, gpus):
            yield result
    except LostWorkError as error:
        for job in error.items:
            remove_partials(job[1].output)
            yield record_failure(job, f"its process {PROCESS_ENDED}")
