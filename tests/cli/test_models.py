"""emo-models lists what --model reports of the same names."""

import pytest

from emo.cli.models import main
from emo.core.errors import InputError
from emo.hub.registry import REGISTERED_MODELS
from emo.hub.resolve import resolve_model


def test_every_name_has_its_line(run_main):
    code, out, _ = run_main(main, "emo-models")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert code == 0 and "mini" in lines
    for name, model in REGISTERED_MODELS.items():
        assert all(
            word in lines[name]
            for word in (model.hub_id, model.license, model.download_size, model.gpu_memory, model.requirement)
        )
        assert model.parts_license in lines[name]


@pytest.mark.parametrize("name", REGISTERED_MODELS)
def test_a_registered_name_reports_its_requirement(name):
    with pytest.raises(InputError) as caught:
        resolve_model(name)
    assert all(word in str(caught.value) for word in (name, REGISTERED_MODELS[name].hub_id, "emo-convert"))
    assert ("then `emo-convert FOLDER" in str(caught.value)) == REGISTERED_MODELS[name].convertible
    assert "\n" not in str(caught.value)
