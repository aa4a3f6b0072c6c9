"""A text file is whole or it is not there."""

import pytest

from emo.core.errors import OutputError
from emo.core.files import write_whole


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    write_whole(tmp_path / "a.md", "é\n")
    assert (tmp_path / "a.md").read_bytes() == "é\n".encode()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder can't be written"):
        write_whole(tmp_path / "folder", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "folder"]
