"""What all commands share: how arguments are parsed, how errors are shown, and with which code a command ends.

A command ends with 0; with 2 and one line on stderr where the user can fix something; with 130 after Ctrl-C,
SIGTERM or SIGHUP. Nothing here imports torch, so that `--help` answers at once.
"""

import argparse
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from emo.core.errors import InputError
from emo.core.parallel import set_passive_waiting

EXTRAS = {  # a command or a package -> the extra of emo-portrait that installs what it needs
    "emo-prepare": "[prepare]",
    "emo-train": "[train]",
    "emo-eval": "[eval]",
    "emo-publish": "[train]",
    "emo-dub": "[dub]",
    "emo-serve": "[serve]",
    "demucs": "[vocals]",
    "peft": "[lora]",
    "pillow_heif": "[heic]",
}
USER_ERRORS = {errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line.

    Attributes:
        parameters: Parameters of the library that have another name than their option: name -> option. Errors of the
            library name a parameter as `name=value`; the user reads `--option value`.
        renamed: Options of earlier versions: old name -> new name.
        find_conflict: Returns what is wrong with a combination of arguments, or None.
    """

    def __init__(
        self,
        *args,
        parameters: Mapping[str, str] | None = None,
        renamed: Mapping[str, str] | None = None,
        find_conflict: Callable[[argparse.Namespace], str | None] | None = None,
        **options,
    ):
        super().__init__(*args, **options)
        self.parameters, self.renamed = dict(parameters or {}), dict(renamed or {})
        self.find_conflict = find_conflict

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does, and also values that begin with a minus: `--gaze -20,5` is `--gaze=-20,5`.

        A combination of arguments that can't be used is an error, too.

        Args:
            args: Texts of the arguments; None: those of the process.
            namespace: Object that takes the values; None: a new one.

        Returns:
            The namespace, and the arguments that no option takes.
        """
        joined: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if joined and re.fullmatch(r"--[a-z][\w-]*", joined[-1]) and re.match(r"-[\d.]", word):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        parsed, rest = super().parse_known_args(joined, namespace)
        if self.find_conflict is not None and (conflict := self.find_conflict(parsed)):
            self.error(conflict)
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """End the command with code 2 and one line on stderr.

        Args:
            message: Description of the error.
        """
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def refuse_renamed(self, arguments: Sequence[str]) -> None:
        """End the command with one line that names the new option, where an old one is given."""
        for argument in arguments:
            name = argument.partition("=")[0]
            if name in self.renamed:
                self.error(f"{name} is now called {self.renamed[name]}")

    def name_options(self, message: str, args: argparse.Namespace) -> str:
        """Replace the library's `name=value` by the command's `--option value`.

        Args:
            message: An error or warning of the library.
            args: The parsed arguments, whose names are those of the options.

        Returns:
            The message as the user of the command should read it.
        """
        options = {name: f"--{name.replace('_', '-')}" for name in vars(args)} | self.parameters
        for name, option in options.items():
            message = re.sub(rf"(?<![\w.\-]){name}=True\b", option, message)
            message = re.sub(rf"(?<![\w.\-]){name}=(?=[\w\"'(\[./\\-])", f"{option} ", message)
            message = re.sub(rf"(?<![\w.\-]){name}=", option, message)
        return message


def run(parser: Parser, command: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments and call the command with them.

    Args:
        parser: The command's parser.
        command: Function that is called with the arguments; its InputError becomes one line.
        arguments: Texts of the arguments; None: those of the process.
    """
    make_output_safe()
    set_passive_waiting()
    parser.refuse_renamed(sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(arguments)
    end_on_signals()
    try:
        command(args)
        sys.stdout.flush()
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {parser.name_options(str(error), args)}\n")
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        extra = EXTRAS.get(package) or EXTRAS.get(parser.prog, "")
        parser.exit(2, f"{parser.prog}: {package} is missing: pip install 'emo-portrait{extra}'\n")
    except BrokenPipeError:  # the reader of our output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in USER_ERRORS or error.filename is None:
            raise
        parser.exit(2, f"{parser.prog}: {error.filename}: {error.strerror}\n")
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: stopped", file=sys.stderr)
        sys.exit(130)


def make_output_safe() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def end_on_signals() -> None:
    """Install signal handlers: SIGTERM and SIGHUP end the command as Ctrl-C does, so that no partial file is left;
    under nohup SIGHUP stays ignored."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(*_) -> NoReturn:
    raise KeyboardInterrupt
