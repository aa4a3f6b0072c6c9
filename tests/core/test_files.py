"""Files and folders are complete or not there; names fit; hashes follow the content."""

import os

import numpy as np
import pytest

from emo.core.errors import InputError, OutputError
from emo.core.files import (
    atomic_file,
    atomic_folder,
    check_input_file,
    hash_files,
    load_arrays,
    move_file,
    rescue_file,
    save_arrays,
    shorten_name,
    write_text_atomic,
)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    write_text_atomic(tmp_path / "a.md", "é\n")
    assert (tmp_path / "a.md").read_bytes() == "é\n".encode()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder can't be written"):
        write_text_atomic(tmp_path / "folder", "text")
    with pytest.raises(OutputError, match="a.md can't be written"):
        write_text_atomic(tmp_path / "nowhere" / "a.md", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_former_file(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OutputError if error is OSError else error):
        with atomic_file(tmp_path / "a.txt") as partial:
            partial.write_text("new")
            raise error("disk")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path):
    with atomic_file(tmp_path / "a.txt") as one, atomic_file(tmp_path / "a.txt") as other:
        one.write_text("one")
        other.write_text("other")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "one"


def test_a_folder_takes_its_name_when_it_is_complete(tmp_path):
    target = tmp_path / "run"
    for text in ("old", "new"):
        with atomic_folder(target) as partial:
            partial.mkdir()
            (partial / "a.txt").write_text(text)
    with pytest.raises(ValueError):
        with atomic_folder(target) as partial:
            partial.mkdir()
            raise ValueError
    assert os.listdir(tmp_path) == ["run"] and (target / "a.txt").read_text() == "new"


@pytest.mark.parametrize("stem", ["a" * 400, "é" * 400, "日本語" * 100, "a" + "😀" * 99, "short"])
def test_names_are_shortened_by_whole_characters(tmp_path, stem):
    name = shorten_name(stem, ".mp4")
    assert name.endswith(".mp4") and len(name.encode()) <= 255 and stem.startswith(name[:-4])
    assert len(name.encode()) > 255 - 4 or name == f"{stem}.mp4"
    (tmp_path / name).touch()


def test_a_taken_name_is_left_alone_and_the_next_free_one_is_used(tmp_path):
    for name in ("new", "out.mp4", "out-1.mp4"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        move_file(tmp_path / "new", tmp_path / "out.mp4", overwrite=False)
    assert rescue_file(tmp_path / "new", tmp_path / "out.mp4") == tmp_path / "out-2.mp4"
    assert sorted(os.listdir(tmp_path)) == ["out-1.mp4", "out-2.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "out.mp4"


def test_without_links_a_name_is_not_taken_twice_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    move_file(tmp_path / "one", tmp_path / "out", overwrite=False)
    with pytest.raises(FileExistsError):
        move_file(tmp_path / "two", tmp_path / "out", overwrite=False)
    assert (tmp_path / "out").read_text() == "one"


@pytest.mark.parametrize("name", ["nowhere", "", "x" * 300, "a\0b"])
def test_what_is_no_file_is_one_line(tmp_path, name):
    with pytest.raises(InputError) as error:
        check_input_file(tmp_path / name, "picture file")
    assert "\n" not in str(error.value)


def test_hashes_are_of_the_content(tmp_path):
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    a, b, c = (hash_files(tmp_path / name) for name in "abc")
    assert a == b != c and hash_files(tmp_path / "a", tmp_path / "c") == f"{a}_{c}"
    with pytest.raises(InputError, match="nowhere can't be read"):
        hash_files(tmp_path / "nowhere")


def test_arrays_come_back(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3).T}
    save_arrays(tmp_path / "a.safetensors", arrays)
    assert np.array_equal(load_arrays(tmp_path / "a.safetensors")["x"], arrays["x"])
    (tmp_path / "a.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="is broken"):
        load_arrays(tmp_path / "a.safetensors")
