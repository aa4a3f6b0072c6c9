"""A model and its card to the Hub, in one commit: what others see is whole, or what was there before.

Large files go first, each only if the Hub lacks it: the same again after a break goes on where it stopped.
"""

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from emo.core.download import asked
from emo.core.errors import InputError
from emo.hub.publish.card import CURVE, Told, make_card
from emo.hub.publish.facts import Facts
from emo.media.html import curve


def contents(facts: Facts, told: Told) -> dict[str, Path | bytes]:
    """Path on the Hub -> what will be there. Raises InputError for what a card can't say."""
    drawn = curve(facts.rows)
    files: dict[str, Path | bytes] = {
        str(path.relative_to(facts.model).as_posix()): path for path in sorted(facts.model.rglob("*")) if path.is_file()
    }
    files |= {f"samples/{path.name}": path for path in facts.samples[: told.samples]}
    files |= {CURVE: drawn.encode()} if drawn else {}
    return files | {"README.md": str(make_card(facts, told, bool(drawn))).encode()}


def publish(files: dict[str, Path | bytes], name: str, private: bool = False, token: str | None = None) -> str:
    """Makes the repository OWNER/NAME where there is none, commits the files, and returns the commit's address.

    Raises InputError when the Hub refuses, or can't be reached.
    """
    api = HfApi(token=token)
    adding = [CommitOperationAdd(path, given) for path, given in files.items()]
    before = f"{name} is not published:"
    asked(before, api.whoami)
    asked(before, lambda: api.create_repo(name, private=private or None, exist_ok=True))
    try:
        commit = asked(before, lambda: api.create_commit(name, adding, commit_message="Publish with emo"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{before} the Hub refuses the card: {' '.join(str(error).split())}") from error
    return commit.commit_url
