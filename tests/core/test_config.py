"""Settings of a run: typed, without unknown keys, the same after saving and loading; old names are refused."""

from dataclasses import asdict
from inspect import signature
from pathlib import Path

import pytest

from emo import EMOModel
from emo.core.config import (
    RENAMED_KEYS,
    RENAMED_TASKS,
    ConditionConfig,
    Config,
    check_arguments,
    check_names,
    flatten_settings,
    load_config,
    save_config,
)
from emo.core.errors import InputError

ROOT = Path(__file__).parents[2] / "configs"
CONFIGS = sorted([*ROOT.glob("*.yaml"), *ROOT.glob("mini/**/*.yaml")])  # configs/accelerate is not read by load_config


@pytest.fixture
def write(tmp_path):
    """write(text) -> the path of a YAML file."""

    def make(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return make


def test_file_goes_over_the_defaults_and_overrides_over_both(write):
    path = write("steps: 7\nlearning_rate: 2e-4\ndata: {size: 128, clips: {here: 0.5}}\nloss: {mouth_weight: 2}\n")
    config = load_config(path, ["steps=9", "data.num_frames=3", "loss.min_snr_gamma=null", "trainable=[a*,b]"])
    assert (config.steps, config.learning_rate, config.data.size) == (9, 2e-4, 128)
    assert config.data.clips == {"here": 0.5} and config.data.num_frames == 3
    assert config.loss.mouth_weight == 2.0 and config.loss.min_snr_gamma is None
    assert config.trainable == ["a*", "b"]
    assert config.batch_size == Config().batch_size and config.scheduler == Config().scheduler


def test_file_goes_over_the_one_it_extends(write, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "root.yaml").write_text("steps: 3\nmodel: {a: 1, b: 2}\ndata: {size: 64}\n")
    (tmp_path / "base.yaml").write_text(
        "extends: deep/root.yaml\nsteps: 4\nbatch_size: 9\nconditions: {audio: {drop_rate: 0.1}}\n"
    )
    text = "extends: base.yaml\nmodel: {b: 5}\nconditions: {motion: {drop_rate: 1}}\n"
    config = load_config(write(text), ["data.num_frames=2", "conditions.gaze.drop_rate=0.2"])
    assert (config.steps, config.batch_size, config.data.size, config.data.num_frames) == (4, 9, 64, 2)
    assert config.model == {"a": 1, "b": 5}
    rates = {name: condition.drop_rate for name, condition in config.conditions.items()}
    assert rates == {"audio": 0.1, "motion": 1.0, "gaze": 0.2}
    assert all(isinstance(condition, ConditionConfig) for condition in config.conditions.values())


@pytest.mark.parametrize(
    ("base", "message"),
    [("gone.yaml", "gone.yaml, which .*run.yaml extends, is not a file"), ("run.yaml", "extends itself")],
)
def test_impossible_base_is_named(write, base, message):
    with pytest.raises(InputError, match=message):
        load_config(write(f"extends: {base}\n"))


def test_empty_file_gives_the_defaults(write):
    assert load_config(write("")) == Config()


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        ("stesp: 3", "stesp", "steps"),
        ("data: {sise: 3}", "data.sise", "size"),
        ("loss: {mouth_wait: 1}", "loss.mouth_wait", "mouth_weight"),
        ("conditions: {audio: {droprate: 1}}", r"conditions\[audio\].droprate|conditions.audio.droprate", "drop_rate"),
    ],
)
def test_unknown_key_is_answered_with_the_nearest(write, text, unknown, nearest):
    with pytest.raises(InputError, match=rf"run.yaml: unknown setting '({unknown})'. Did you mean '{nearest}'\?"):
        load_config(write(text))


def test_unknown_override_is_answered_with_the_nearest(write):
    with pytest.raises(InputError, match="'data.siez'. Did you mean 'size'"):
        load_config(write("steps: 1"), ["data.siez=3"])


def test_key_unlike_all_others_gets_no_hint(write):
    with pytest.raises(InputError, match="unknown setting 'qqqqq'.$"):
        load_config(write("qqqqq: 1"))


@pytest.mark.parametrize("old", RENAMED_KEYS)
@pytest.mark.parametrize("as_override", [True, False])
def test_old_key_is_refused_with_its_new_name(write, old, as_override):
    new = RENAMED_KEYS[old]
    text = "steps: 1\n"
    if not as_override:
        *sections, name = old.split(".")
        text += "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
        text += f"{'  ' * len(sections)}{name}: 1\n"
    with pytest.raises(InputError) as caught:
        load_config(write(text), [f"{old}=1"] if as_override else [])
    assert str(caught.value).endswith(f"run.yaml: setting {old!r} was renamed: write {new!r}")
    names = [*flatten_settings(asdict(Config(conditions={name: ConditionConfig() for name in conditions()})))]
    names += [f"model.{name}" for name in signature(EMOModel.__init__).parameters]  # `model` takes any of the model's
    assert any(f"{name}.".startswith(f"{new}.") for name in names), f"{new} is no setting"
    assert not any(f"{name}.".startswith(f"{old}.") for name in names), f"{old} is still a setting"


def conditions() -> list[str]:
    return [new.split(".")[1] for new in RENAMED_KEYS.values() if new.startswith("conditions.")]


@pytest.mark.parametrize("old", RENAMED_TASKS)
def test_old_task_is_refused_with_its_new_name(write, old):
    from emo.training.task import TASKS

    with pytest.raises(InputError, match=f"run.yaml: task '{old}' was renamed: write '{RENAMED_TASKS[old]}'$"):
        load_config(write(f"task: {old}\n"))
    assert RENAMED_TASKS[old] in TASKS and old not in TASKS


@pytest.mark.parametrize(
    "text", ["steps: many", "steps: 1.5", "data: 3", "trainable: 4", "loss: {mouth_weight: [1]}", "data: {clips: [a]}"]
)
def test_wrong_type_is_refused_in_one_line(write, text):
    with pytest.raises(InputError, match="run.yaml") as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "\tsteps: 1", "- 1\n- 2", "just words"])
def test_file_without_settings_is_refused_in_one_line(write, text):
    with pytest.raises(InputError, match="run.yaml") as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_missing_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="is not a file: name a YAML file"):
        load_config(tmp_path / name)


def test_saved_settings_load_the_same(write, tmp_path):
    text = "learning_rate: 1e-5\nmodel: {widths: [1, 2], name: x, deep: {a: null}}\ndata: {clips: {a/b: 1}}\n"
    config = load_config(write(text + "conditions: {audio: {drop_rate: 0.5}, motion: {}}\n"))
    for saved in (config, Config()):
        save_config(saved, tmp_path / "saved.yaml")
        assert load_config(tmp_path / "saved.yaml") == saved
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml", "saved.yaml"}


class Model:
    def __init__(self, width: int, widths: tuple[int, ...] = (1, 2), scale: float | None = None, fast: bool = False):
        pass


@pytest.mark.parametrize("given", [{}, {"width": 1}, {"widths": [3]}, {"scale": None}, {"scale": 2, "fast": True}])
def test_arguments_of_a_class_are_accepted(given):
    check_arguments("model", given, Model)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 3}, "unknown setting 'model.widht'. Did you mean 'width'?"),
        ({"width": "wide"}, "model.width: Value 'wide'"),
        ({"widths": 3}, "model.widths: "),
        ({"widths": [1, "x"]}, "Value 'x'"),
        ({"scale": "x"}, "model.scale: Value 'x'"),
        ({"fast": 2.5}, "model.fast: Value '2.5'"),
    ],
)
def test_other_arguments_are_refused_in_one_line(given, message):
    with pytest.raises(InputError) as caught:
        check_arguments("model", given, Model)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_name_of_a_section_is_answered_with_the_nearest():
    check_names("conditions", ["audio"], ["audio", "motion"])
    with pytest.raises(InputError, match="^unknown setting 'conditions.moton'. Did you mean 'motion'?"):
        check_names("conditions", ["audio", "moton"], ["audio", "motion"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_own_files_load(path):
    config = load_config(path)
    assert config.steps > 0 and config.output.startswith("runs/")


def test_there_are_files_of_our_own():
    assert len(CONFIGS) > 10
