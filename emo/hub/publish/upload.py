"""Publish a model and its card on the Hub in one commit: readers see all of it, or what was there before.

Large files are sent first, each only if the Hub lacks it, so the same command resumes after a break.
"""

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from emo.core.download import call_hub
from emo.core.errors import InputError
from emo.hub.publish.card import CURVE_FILE, CardOptions, make_card
from emo.hub.publish.facts import ModelFacts
from emo.media.html import loss_chart


def collect_files(facts: ModelFacts, options: CardOptions) -> dict[str, Path | bytes]:
    """Collect the files of a publication.

    Args:
        facts: Facts of the model.
        options: The publisher's options.

    Returns:
        Path on the Hub -> a file of this machine, or content.

    Raises:
        InputError: See `make_card`.
    """
    chart = loss_chart(facts.log_rows)
    files: dict[str, Path | bytes] = {
        str(path.relative_to(facts.folder).as_posix()): path
        for path in sorted(facts.folder.rglob("*"))
        if path.is_file()
    }
    files |= {f"samples/{path.name}": path for path in facts.sample_videos[: options.samples]}
    files |= {CURVE_FILE: chart.encode()} if chart else {}
    return files | {"README.md": str(make_card(facts, options, bool(chart))).encode()}


def publish(files: dict[str, Path | bytes], name: str, private: bool = False, token: str | None = None) -> str:
    """Commit files to a model repository, which is created if there is none.

    Args:
        files: Path on the Hub -> a file of this machine, or content.
        name: OWNER/NAME.
        private: Whether a new repository is private.
        token: Token of the Hub; None: that of `hf auth login` or HF_TOKEN.

    Returns:
        Address of the commit.

    Raises:
        InputError: The Hub refuses the files, or can't be reached.
    """
    api = HfApi(token=token)
    adding = [CommitOperationAdd(path, given) for path, given in files.items()]
    before = f"{name} is not published:"
    call_hub(before, api.whoami)
    call_hub(before, lambda: api.create_repo(name, private=private or None, exist_ok=True))
    try:
        commit = call_hub(before, lambda: api.create_commit(name, adding, commit_message="Publish with emo"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{before} the Hub refuses the card: {' '.join(str(error).split())}") from error
    return commit.commit_url
