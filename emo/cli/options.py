"""Types of option values that several commands take, for argparse: each parses a text or says in one line why not."""

import argparse
import math
from collections.abc import Callable


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of a number within limits.

    Args:
        low: Smallest number.
        high: Largest number.

    Returns:
        A function text -> number that raises ArgumentTypeError for any other text.
    """

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            hint = f": write {text.replace(',', '.')}" if text.count(",") == 1 else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a number{hint}") from error
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return parse


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of a whole number within limits, exact also where a float is not.

    Args:
        low: Smallest number.
        high: Largest number; None: no upper limit.

    Returns:
        A function text -> number that raises ArgumentTypeError for any other text.
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
        if value < low or (high is not None and value > high):
            limits = f"below {low}" if high is None else f"not between {low} and {high}"
            raise argparse.ArgumentTypeError(f"{text} is {limits}")
        return value

    return parse


def square_size(text: str) -> int:
    """Parse the side of the animated square in pixels. Raises ArgumentTypeError unless it is a multiple of 64 up to
    2048."""
    pixels = integer(64, 2048)(text)
    if pixels % 64:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of 64")
    return pixels


def face_box(text: str) -> tuple[float, float, float, float] | str:
    """Parse a box x0,y0,x1,y1 in pixels, or "full". Raises ArgumentTypeError for any other text."""
    if text == "full":
        return text
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither x0,y0,x1,y1 nor full") from error
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in (x0, y0, x1, y1)):
        raise argparse.ArgumentTypeError(f"{text} is not a box in pixels")
    if x0 >= x1 or y0 >= y1:
        raise argparse.ArgumentTypeError(f"{text} is not a box: x1 must lie right of x0 and y1 under y0")
    return x0, y0, x1, y1


def numbers(*names: str, optional: int = 0) -> Callable[[str], dict[str, float]]:
    """Return a parser of numbers with commas between them, such as 20,-5.

    Args:
        names: What each number is.
        optional: How many of the last may be left out.

    Returns:
        A function text -> name: number that raises ArgumentTypeError for any other text.
    """
    form = ",".join(name.upper() for name in names)

    def parse(text: str) -> dict[str, float]:
        parts = text.split(",")
        if not len(names) - optional <= len(parts) <= len(names):
            raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
        return dict(zip(names, [number(-1e6, 1e6)(part) for part in parts], strict=False))

    return parse


def named_numbers(default: float | None = None) -> Callable[[str], dict[str, float]]:
    """Return a parser of NAME:NUMBER, or several with commas between them, such as happy:0.6,surprised:0.2.

    Args:
        default: The number of a name without one; None: each needs one.

    Returns:
        A function text -> name: number that raises ArgumentTypeError for any other text.
    """

    def parse(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in text.split(","):
            name, colon, value = part.partition(":")
            if not name or name in found or not (colon or default is not None):
                raise argparse.ArgumentTypeError(f"{text!r} is not NAME:NUMBER, or several with commas between them")
            found[name] = number(-1e6, 1e6)(value) if colon else default
        return found

    return parse


def hub_id(text: str) -> str:
    """Parse OWNER/NAME of the Hugging Face Hub. Raises ArgumentTypeError for any other text."""
    if text.count("/") != 1 or not all(text.split("/")):
        raise argparse.ArgumentTypeError(f"{text!r} is not OWNER/NAME")
    return text
