"""A pile of videos is found, named and known, wherever it lies; recipes and lists say what is wanted of it."""

import math
from pathlib import Path

import fsspec
import pytest

from emo.core.errors import InputError
from emo.core.storage import is_local, local_copy, upload_files
from emo.preparation.sources import Recipe, list_sources, make_unique_names, parse_seconds, read_file_list, read_recipe

DATASETS = Path(__file__).parents[2] / "datasets"


@pytest.fixture
def pile(tmp_path):
    """A folder with videos (by their names) in folders, and what is none."""
    for name in ("s1/one.mp4", "s1/two.MOV", "s2/one.mp4", "s2/one.webm", "notes.txt"):
        path = tmp_path / "pile" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "pile"


def test_videos_are_found_at_any_depth_and_named_apart(pile):
    found = {source.key: source.info for source in list_sources(pile, Recipe(person=r"(?:^|/)(s\d+)/"))}
    assert {key: (info.name, info.person) for key, info in found.items()} == {
        "s1/one.mp4": ("s1_one", "s1"),
        "s1/two.MOV": ("s1_two", "s1"),
        "s2/one.mp4": ("s2_one_mp4", "s2"),
        "s2/one.webm": ("s2_one_webm", "s2"),
    }
    assert "." not in "".join(make_unique_names(["a.b.mp4", "c d.mp4"]).values())


def test_a_manifest_knows_more_than_the_recipe(pile):
    rows = "file,speaker,license,start_seconds,end_seconds\none.mp4,anna,MIT,1,2\none.mp4,anna,MIT,4,\n"
    (pile / "manifest.csv").write_text(rows)
    found = {source.key: source for source in list_sources(pile, Recipe(license="CC BY 4.0"))}
    assert found["s1/one.mp4"].spans == ((1.0, 2.0), (4.0, math.inf)) and found["s1/one.mp4"].info.person == "anna"
    assert found["s1/one.mp4"].info.license == "MIT" and found["s1/two.MOV"].info.license == "CC BY 4.0"
    assert found["s1/two.MOV"].spans == ((0.0, math.inf),)
    (pile / "manifest.csv").write_text("file,licence\none.mp4,CC0\n")  # the column's name in earlier versions
    assert list_sources(pile, Recipe())[0].info.license == "CC0"
    (pile / "manifest.csv").write_text("name\none\n")
    with pytest.raises(InputError, match="a row names no file"):
        list_sources(pile, Recipe())


def test_a_list_names_the_parts_that_are_wanted(pile, tmp_path):
    recipe = Recipe(line=r"^(?P<file>\w+),(?P<start_seconds>[\d.:]+),(?P<end_seconds>[\d.:]+),(?P<person>\w+)")
    (tmp_path / "list.csv").write_text("# file,start,end,person\ntwo,0:10,1:00.5,ben\ntwo,70,80,ben\ngone,1,2,eve\n")
    listed = list(read_file_list(tmp_path / "list.csv", recipe))
    assert len(listed) == 3
    (source,) = list_sources(pile, recipe, listed)
    assert source.key == "s1/two.MOV" and source.info.person == "ben" and source.spans == ((10.0, 60.5), (70.0, 80.0))
    with pytest.raises(InputError, match="holds no videos that are on the list"):
        list_sources(pile, recipe, listed[2:])
    (tmp_path / "list.csv").write_text("nothing\n")
    with pytest.raises(InputError, match="no line matches the list format of"):
        list(read_file_list(tmp_path / "list.csv", recipe))
    with pytest.raises(InputError, match="has no list"):
        list(read_file_list(tmp_path / "list.csv", Recipe()))
    assert parse_seconds("1:02:03.5") == 3723.5


def test_footage_from_elsewhere_is_here_while_it_is_needed(pile):
    fs = fsspec.filesystem("memory")
    fs.put(str(pile), "/raw", recursive=True)
    source = list_sources("memory://raw", Recipe())[0]
    with local_copy(source.url) as path:
        assert path.read_bytes() == b"s1/one.mp4"
    assert not path.exists()
    local = list_sources(pile, Recipe())[0]
    with local_copy(local.url) as path:
        assert path == pile / "s1" / "one.mp4"
    assert path.exists() and is_local(pile) and not is_local("memory://raw")


def test_shards_go_up_once(tmp_path):
    shard, index = tmp_path / "a.tar", tmp_path / "index.parquet"
    shard.write_bytes(b"first")
    index.write_bytes(b"one")
    upload_files([shard, index], "memory://out")
    shard.write_bytes(b"its name is its content: this can't be")
    index.write_bytes(b"two")
    upload_files([shard, index], "memory://out")
    fs = fsspec.filesystem("memory")
    assert fs.cat_file("/out/a.tar") == b"first" and fs.cat_file("/out/index.parquet") == b"two"


def test_what_can_not_be_reached_is_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match="holds no videos"):
        list_sources(tmp_path, Recipe())
    with pytest.raises(InputError, match="nothing://x can't be reached"):
        list_sources("nothing://x", Recipe())


@pytest.mark.parametrize("path", sorted(DATASETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_recipe_reads_and_says_what_is_allowed(path):
    recipe = read_recipe(path)
    assert recipe.name and recipe.license and (recipe.url and recipe.allows or path.stem == "own_folder")


@pytest.mark.parametrize(
    "name, path, person",
    [
        ("grid", "s12/bbaf2n.mpg", "s12"),
        ("grid", "s1_bbaf2n.mp4", "s1"),
        ("hdtf", "WDA_BarackObama_000.mp4", "BarackObama"),
        ("crema_d", "video/1001_DFA_ANG_XX.flv", "1001"),
        ("mead", "M003/video/front/angry/level_1/001.mp4", "M003"),
        ("celebv_hq", "a-_4567890b_3.mp4", "a-_4567890b"),
        ("talkinghead_1kh", "raw/a-_4567890b.mp4", "a-_4567890b"),
        ("vfhq", "Clip+a-_4567890b+P0+C1+F2-300.mp4", "a-_4567890b"),
        ("own_folder", "anna/1.mp4", "anna"),
    ],
)
def test_a_recipe_knows_the_person_of_a_file(name, path, person):
    assert read_recipe(DATASETS / f"{name}.yaml").person_in(path) == person


@pytest.mark.parametrize(
    "name, line, file, times",
    [
        ("hdtf", "RD_Radio10_000.mp4 0:30-1:30", "RD_Radio10_000", (30, 90)),
        ("vfhq", "Clip+a-_4567890b+P0+C1+F2-300.txt", "Clip+a-_4567890b+P0+C1+F2-300", (0, math.inf)),
        ("celebv_hq", "a-_4567890b,1.5,9", "a-_4567890b", (1.5, 9)),
        ("talkinghead_1kh", "a-_4567890b", "a-_4567890b", (0, math.inf)),
        ("crema_d", '"1001_DFA_ANG_XX",6,A:A', "1001_DFA_ANG_XX", (0, math.inf)),
        ("own_folder", "talk.mp4,1,2.5,anna", "talk.mp4", (1, 2.5)),
    ],
)
def test_a_recipe_reads_its_list(name, line, file, times, tmp_path):
    (tmp_path / "list").write_text(f"{line}\n")
    (found,) = read_file_list(tmp_path / "list", read_recipe(DATASETS / f"{name}.yaml"))
    assert (found.file, found.start_seconds, found.end_seconds) == (file, *times)


@pytest.mark.parametrize(
    "text, words",
    [
        ("persn: x", "is not a recipe"),
        ("licence: MIT", "licence was renamed: write license"),
        ("held_out: [anna]", "held_out was renamed: write hold_out"),
        ("person: '[a'", "is not a recipe"),
        ("person: a", "the regex needs a group"),
        ("line: (?P<name>a)", "name its groups"),
        ("limits: {loud: 1}", "limits: give name=number of"),
        ("limits: {shortest_seconds: 1}", "limits: shortest_seconds was renamed: write min_seconds"),
        ("- a", "is not a recipe"),
        ("a: [", "is not a recipe"),
    ],
)
def test_a_wrong_recipe_is_said_in_one_line(text, words, tmp_path):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_recipe(tmp_path / "wrong.yaml")
    assert str(caught.value).count("wrong.yaml") == 1 and "\n" not in str(caught.value)
