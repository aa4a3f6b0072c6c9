"""emo: the umbrella command. `emo infer ...` is `emo-infer ...`."""

import difflib
import importlib
import sys
from typing import NoReturn

from emo import __version__
from emo.cli.command import make_output_safe

VERBS = {  # command -> its module in emo.cli, its description
    "infer": ("infer", "make a portrait talk or sing"),
    "dub": ("dub", "put new words into an existing video"),
    "serve": ("serve", "serve a page and an API that make videos, and live sessions"),
    "models": ("models", "list the models that have a name"),
    "detect": ("detect", "tell whether a file was made by emo"),
    "info": ("info", "show versions, devices and speed, for a bug report"),
    "prepare": ("prepare", "make training data from footage and pictures"),
    "train": ("train", "train what a YAML file describes"),
    "eval": ("eval", "measure generated videos against real footage"),
    "bench": ("bench", "measure how fast videos are made"),
    "convert": ("convert", "convert published weights of Hallo or Hallo2"),
    "publish": ("publish", "publish a model or a run on the Hub"),
}


def usage() -> str:
    """Return the list of commands."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            "usage: emo COMMAND ... | emo --version",
            "",
            "Makes portraits talk and sing (EMO, arXiv 2402.17485). Commands:",
            "",
            *lines,
            "",
            "emo COMMAND --help describes each of them. `emo infer` and `emo-infer` are the same command.",
        ]
    )


def refuse(verb: str) -> NoReturn:
    """End with one line for an unknown command."""
    near = difflib.get_close_matches(verb.removeprefix("emo-"), VERBS, 1)
    hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(VERBS)}"
    print(f"emo: {verb} is not a command: {hint} (see emo --help)", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Run the command that the first argument names, or print the usage."""
    make_output_safe()
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
    elif verb in ("-V", "--version"):
        print(f"emo {__version__}")
    elif verb in VERBS:
        sys.argv = [f"emo-{verb}", *rest]
        importlib.import_module(f"emo.cli.{VERBS[verb][0]}").main()
    else:
        refuse(verb)


if __name__ == "__main__":
    main()
