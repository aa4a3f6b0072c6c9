"""How every command speaks and ends: 0, or one clear line and 2 for what the user can mend, or 130 for Ctrl-C."""

import argparse
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from emo.core.errors import InputError

EXTRAS = {
    "emo-prepare": "[prepare]",
    "emo-train": "[train]",
    "emo-eval": "[eval]",
    "emo-publish": "[train]",
    "demucs": "[vocals]",
    "peft": "[lora]",
}  # of a command, or a module


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def interrupt(*_) -> NoReturn:
    raise KeyboardInterrupt


def run(parser: Parser, command: Callable[[argparse.Namespace], None], arguments: list[str] | None = None) -> None:
    """Parses the arguments (None: the command line's) and calls the command with them. A polite kill ends like Ctrl-C:
    nothing half is left."""
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        command(args)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        extra = EXTRAS.get(package) or EXTRAS.get(parser.prog, "")
        parser.exit(2, f"{parser.prog}: {package} is missing: pip install 'emo-portrait{extra}'\n")
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: stopped", file=sys.stderr)
        sys.exit(130)
