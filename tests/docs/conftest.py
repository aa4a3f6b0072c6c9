"""The documents of the repository, taken apart: links, headings, commands, Python blocks, options and paths.

A test that takes an argument of PARAMETERS (`document`, `link`, `command`, ...) runs once for each of them.
"""

import re
import shlex
import shutil
import wave as riff
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PATTERNS = ["*.md", "docs/**/*.md", ".github/*.md", "benchmarks/*.md", "configs/**/*.md", "datasets/**/*.md"]
HISTORY = {"CHANGELOG.md"}  # it names what is no more
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SKIPPED = re.compile(r"<!-- not run: (.+?) -->\s*$")
SHELLS = {"bash", "sh", "console"}
ROOTS = "benchmarks|configs|datasets|docs|emo|integrations|scripts|tests|.github|.ci"


@dataclass(frozen=True)
class Part:
    """Something in a document, with the place where it stands."""

    document: Path
    line: int
    text: str
    reason_not_run: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


@cache
def list_documents() -> list[Path]:
    return sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})


@cache
def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def locate(document: Path, match: re.Match, group: int | str = 0) -> Part:
    line = read(document).count("\n", 0, match.start(group)) + 1
    return Part(document, line, match[group])


def blank_fences(text: str) -> str:
    """The text with the fenced blocks empty, so that every line keeps its number."""
    return FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def list_blocks(languages: set[str], documents: list[Path] | None = None) -> list[Part]:
    """The fenced blocks in these languages, their indentation removed."""
    found = []
    for document in documents or list_documents():
        text = read(document)
        for match in FENCE.finditer(text):
            if match[2] in languages:
                skipped = SKIPPED.search(text, 0, match.start())
                indent = len(match[1])
                lines = [line[indent:] for line in match[3].splitlines()]
                line = text.count("\n", 0, match.start(3)) + 1
                found.append(Part(document, line, "\n".join(lines), skipped and skipped[1]))
    return found


def list_links() -> list[Part]:
    """Targets of links and images, outside of code."""
    found = []
    for document in list_documents():
        text = re.sub(r"`[^`\n]*`", lambda match: " " * len(match[0]), blank_fences(read(document)))
        for match in re.finditer(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", text):
            found.append(Part(document, text.count("\n", 0, match.start()) + 1, match[1]))
    return found


def list_inline_code() -> list[Part]:
    found = []
    for document in list_documents():
        text = blank_fences(read(document))
        for match in re.finditer(r"`([^`\n]+)`", text):
            found.append(Part(document, text.count("\n", 0, match.start()) + 1, match[1]))
    return found


def list_commands() -> list[Part]:
    """The commands of the documents, and those of scripts/*.sh that call the package."""
    found = list_document_commands()
    for path in sorted((ROOT / "scripts").glob("*.sh")):
        text = re.sub(r"<<'(\w+)'\n.*?^\1$", lambda match: "\n" * match[0].count("\n"), read(path), flags=re.S | re.M)
        text = re.sub(r"\$\{\d:\?[^}]*\}", "FILE", text)  # a required argument
        commands = list_lines_commands(Part(path, 1, text))
        found += [command for command in commands if re.match(r"emo-|accelerate |torchrun ", command.text)]
    return found


def list_document_commands() -> list[Part]:
    """Single commands of the shell blocks (chains split, continued lines joined, loops unrolled by their first value),
    and of inline code that can be run as it stands: a program with a file or module, without placeholders."""
    found = []
    for block in list_blocks(SHELLS):
        found += list_lines_commands(block)
    for code in list_inline_code():
        program, *rest = code.text.split()
        is_command = re.fullmatch(r"emo-\w+|python|pip|scripts/\S+", program) and any(
            re.search("[./]", w) for w in rest
        )
        if is_command and code.document.name not in HISTORY and not re.search(r"[A-Z]{3}|\.\.\.", code.text):
            found.append(code)
    return found


def list_lines_commands(source: Part) -> list[Part]:
    """Single commands of a shell text."""
    found = []
    text = re.sub(r"\\\n", "  ", source.text)
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines()):
        for command in split_line(line.removeprefix("$ "), variables):
            found.append(Part(source.document, source.line + number, command))
    return found


def split_line(line: str, variables: dict[str, str]) -> list[str]:
    """The commands of a line of a shell script, variables that the script has set put in."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            commands.append([])
        else:
            commands[-1].append(word)
    found = []
    for words in commands:
        if words[:1] == ["for"]:
            variables[words[1]] = words[3]
            continue
        if words[:1] in (["do"], ["then"]):
            words = words[1:]
        while words and re.fullmatch(r"\w+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = " ".join(put_in(value, variables))
        words = [part for word in words for part in put_in(word, variables)]
        if words and words[0] not in {"done", "fi", "set"}:
            found.append(shlex.join(words))
    return found


def put_in(word: str, variables: dict[str, str]) -> list[str]:
    """A word with its variables' values; one that is a variable alone becomes the words of its value."""
    if word == "$@":
        return []
    if (name := re.fullmatch(r"\$(\w+)", word)) and name[1] in variables:
        return shlex.split(variables[name[1]])
    word = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word)
    return [re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), word)]


def list_cheap_commands() -> list[Part]:
    """Of the commands, each once: those that run within seconds and need nothing but a portrait and a sound."""
    once = {command.text: command for command in reversed(list_commands()) if is_cheap(shlex.split(command.text))}
    return list(reversed(once.values()))


def is_cheap(words: list[str]) -> bool:
    if Path(words[0]).name == "emo-infer":  # a tiny model takes the place of theirs, but not of what these options name
        given = {"--revision", "--lora", "--jobs", "--gaze", "--drive"} & {*words}
        return not given and not any(word.startswith("runs/") for word in words)
    if words[0] == "emo-publish":
        return "--card" in words
    return words[0] in {"emo-models", "emo-info", "emo"} or words[:2] == ["emo-prepare", "synth"]


def list_options() -> list[Part]:
    """Options that inline code names, outside of the history."""
    found = []
    for code in list_inline_code():
        if code.document.name not in HISTORY:
            for option in re.findall(r"(?:(?<=\s)|^)--?[a-z][\w-]*", code.text):
                found.append(Part(code.document, code.line, option))
    return found


def list_repository_paths() -> list[Part]:
    """Paths of files of the repository that inline code names, outside of the history."""
    found = []
    for code in list_inline_code():
        path = re.fullmatch(rf"((?:{ROOTS})/[\w./-]*)", code.text)
        if path and code.document.name not in HISTORY:
            found.append(Part(code.document, code.line, path[1]))
    return found


def list_dotted_names() -> list[Part]:
    """Modules, classes and functions of the package that inline code names, outside of the history."""
    found = []
    for code in list_inline_code():
        name = re.match(r"(emo(?:\.[A-Za-z_]\w*)+)(?:\(|$)", code.text)
        if name and code.document.name not in HISTORY:
            found.append(Part(code.document, code.line, name[1]))
    return found


def list_settings() -> list[Part]:
    """Settings of a training run that the pages about training name: `section.name`, `long_name` or `name=value`."""
    found = []
    for code in list_inline_code():
        place = code.document.relative_to(ROOT).as_posix()
        if place in {"docs/training.md", "docs/fine-tuning.md", "configs/mini/README.md"}:
            if re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)?=\S+|[a-z]+(_[a-z]+)+|[a-z]+\.[a-z_]+", code.text):
                if not re.search(r"\.(yaml|json|jsonl|md|pth|csv|parquet|log)$|^emo|^torch|^mini_|^wandb", code.text):
                    found.append(code)
    return found


PARAMETERS = {
    "document": list_documents,
    "link": list_links,
    "command": list_commands,
    "cheap_command": list_cheap_commands,
    "block": lambda: list_blocks({"python"}),
    "option": list_options,
    "repository_path": list_repository_paths,
    "dotted_name": list_dotted_names,
    "setting": list_settings,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name in PARAMETERS.keys() & set(metafunc.fixturenames):
        values = list(dict.fromkeys(PARAMETERS[name]()))
        metafunc.parametrize(name, values, ids=[describe(value) for value in values])


def describe(value: Path | Part) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(ROOT))
    return f"{value} {' '.join(value.text.split())[:60]}"


@pytest.fixture(scope="session")
def document_commands() -> dict[str, Part]:
    """The commands of all documents, each with the place where it stands."""
    return {command.text: command for command in list_document_commands()}


@pytest.fixture(scope="session")
def cheap_commands() -> set[str]:
    return {command.text for command in list_cheap_commands()}


@pytest.fixture
def reader_folder(tmp_path, monkeypatch, samples) -> Path:
    """The working folder of a reader: small files under the names that the documents use."""
    with riff.open(str(samples / "song.wav")) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")[rate // 2 :][: 4 * rate]
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for place, seconds in ((tmp_path, 4), (tmp_path / "datasets" / "samples", 0.24)):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("portrait.png", "drawing.png"):
            shutil.copy(samples / "portrait.png", place / name)
        Image.open(samples / "portrait.png").save(place / "me.jpg")
        for name in ("song.wav", "speech.wav"):
            with riff.open(str(place / name), "wb") as file:
                file.setparams((1, 2, rate, 0, "NONE", ""))
                file.writeframes(sound[: round(seconds * rate)].tobytes())
    for path in (ROOT / "datasets").glob("*.*"):
        (tmp_path / "datasets" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def documents() -> dict[str, str]:
    """The text of each document by its path from the root."""
    return {path.relative_to(ROOT).as_posix(): read(path) for path in list_documents()}


@pytest.fixture(scope="session")
def python_pages() -> dict[Path, list[Part]]:
    """The Python blocks of each document, in their order."""
    pages: dict[Path, list[Part]] = {}
    for block in list_blocks({"python"}):
        pages.setdefault(block.document, []).append(block)
    return pages
