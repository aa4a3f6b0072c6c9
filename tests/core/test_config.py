"""A run's settings: typed, no unknown ones, the same after saving and loading."""

from pathlib import Path

import pytest

from emo.core.config import Config, load_config, save_config
from emo.core.errors import InputError

ROOT = Path(__file__).parents[2] / "configs"
CONFIGS = sorted([*ROOT.glob("*.yaml"), *ROOT.glob("mini/*.yaml")])  # those of accelerate are not ours


@pytest.fixture
def write(tmp_path):
    """write(text) -> the path of a YAML file."""

    def make(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return make


def test_a_file_over_the_defaults_and_overrides_over_both(write):
    path = write("steps: 7\nlearning_rate: 2e-4\ndata: {size: 128, clips: {here: 0.5}}\nloss: {drop_audio: 1}\n")
    config = load_config(path, ["steps=9", "data.num_frames=3", "loss.min_snr_gamma=null", "trainable=[a*,b]"])
    assert (config.steps, config.learning_rate, config.data.size) == (9, 2e-4, 128)
    assert config.data.clips == {"here": 0.5} and config.data.num_frames == 3
    assert config.loss.drop_audio == 1.0 and config.loss.min_snr_gamma is None
    assert config.trainable == ["a*", "b"]
    assert config.batch_size == Config().batch_size and config.scheduler == Config().scheduler


def test_a_file_over_the_one_it_extends(write, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ground.yaml").write_text("steps: 3\nmodel: {a: 1, b: 2}\ndata: {size: 64}\n")
    (tmp_path / "base.yaml").write_text("extends: deep/ground.yaml\nsteps: 4\nbatch_size: 9\n")
    config = load_config(write("extends: base.yaml\nmodel: {b: 5}\n"), ["data.num_frames=2"])
    assert (config.steps, config.batch_size, config.data.size, config.data.num_frames) == (4, 9, 64, 2)
    assert config.model == {"a": 1, "b": 5}


@pytest.mark.parametrize(
    ("base", "says"), [("gone.yaml", "gone.yaml, which .*run.yaml extends, is no file"), ("run.yaml", "extends itself")]
)
def test_a_base_that_can_not_be_is_named(write, base, says):
    with pytest.raises(InputError, match=says):
        load_config(write(f"extends: {base}\n"))


def test_an_empty_file_is_the_defaults(write):
    assert load_config(write("")) == Config()


@pytest.mark.parametrize(
    ("text", "unknown", "known"),
    [
        ("stesp: 3", "stesp", "steps"),
        ("data: {sise: 3}", "data.sise", "size"),
        ("loss: {drop_adio: 1}", "loss.drop_adio", "drop_audio"),
    ],
)
def test_an_unknown_key_is_told_the_nearest(write, text, unknown, known):
    with pytest.raises(InputError, match=rf"run.yaml: unknown setting '{unknown}'. Did you mean '{known}'\?"):
        load_config(write(text))


def test_an_unknown_override_is_told_the_nearest(write):
    with pytest.raises(InputError, match="'data.siez'. Did you mean 'size'"):
        load_config(write("steps: 1"), ["data.siez=3"])


def test_a_key_like_no_other_gets_no_hint(write):
    with pytest.raises(InputError, match="unknown setting 'qqqqq'.$"):
        load_config(write("qqqqq: 1"))


@pytest.mark.parametrize(
    "text", ["steps: many", "steps: 1.5", "data: 3", "trainable: 4", "loss: {drop_audio: [1]}", "data: {clips: [a]}"]
)
def test_a_wrong_type_is_refused_in_one_line(write, text):
    with pytest.raises(InputError, match="run.yaml") as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "\tsteps: 1", "- 1\n- 2", "just words"])
def test_what_is_no_settings_file(write, text):
    with pytest.raises(InputError, match="run.yaml") as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_no_file(tmp_path, name):
    with pytest.raises(InputError, match="is no file: name a YAML file"):
        load_config(tmp_path / name)


def test_saved_and_loaded_is_the_same(write, tmp_path):
    path = write("learning_rate: 1e-5\nmodel: {widths: [1, 2], name: x, deep: {a: null}}\ndata: {clips: {a/b: 1}}\n")
    config = load_config(path)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    save_config(Config(), tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == Config()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_own_files_load(path):
    config = load_config(path)
    assert config.steps > 0 and config.output.startswith("runs/")


def test_there_are_files_of_our_own():
    assert CONFIGS
