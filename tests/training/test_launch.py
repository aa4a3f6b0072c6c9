"""The launch files: accelerate reads them, and they wrap layers of our model."""

from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from emo import EMOModel

FOLDER = Path(__file__).parents[2] / "configs" / "accelerate"


def read(name: str):
    """The settings that `accelerate launch --config_file` reads."""
    return _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", str(FOLDER / f"{name}.yaml"), "emo-train"])
    )[0]


@pytest.mark.parametrize(
    ("name", "kind"), [("ddp", "multi_gpu"), ("fsdp2", "use_fsdp"), ("deepspeed_zero2", "use_deepspeed")]
)
def test_each_file_is_of_its_kind_and_for_eight_gpus(name, kind):
    found = read(name)
    kinds = {"multi_gpu", "use_fsdp", "use_deepspeed"}
    assert {each for each in kinds if getattr(found, each)} == {kind}
    assert found.num_processes == 8 and found.num_machines == 1
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")


def test_all_files_are_tested():
    assert sorted(path.stem for path in FOLDER.iterdir()) == ["ddp", "deepspeed_zero2", "fsdp2"]


def test_sharded_layers_are_those_of_the_model(tiny_model):
    found = read("fsdp2")
    assert found.fsdp_version == 2 and found.fsdp_state_dict_type == "SHARDED_STATE_DICT"
    wrapped = found.fsdp_transformer_layer_cls_to_wrap.split(",")
    model = EMOModel(**tiny_model)
    names = {type(module).__name__ for module in model.modules()}
    assert len(wrapped) == 5 and names.issuperset(wrapped)
    layers = [module for module in model.modules() if type(module).__name__ in wrapped]
    inside = sum(p.numel() for layer in layers for p in layer.parameters())
    assert inside > 0.7 * sum(p.numel() for p in model.parameters())


def test_deepspeed_shards_gradients_and_optimizer():
    assert read("deepspeed_zero2").zero_stage == 2
