"""emo-models says what --model says of the same names."""

import pytest

from emo.cli.models import main
from emo.core.errors import InputError
from emo.hub.registry import KNOWN
from emo.hub.resolve import resolve


def test_every_name_has_its_line(run_main):
    code, said, _ = run_main(main, "emo-models")
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert code == 0 and "mini" in lines
    for name, known in KNOWN.items():
        assert all(word in lines[name] for word in (known.hub_id, known.licence, known.size, known.memory, known.needs))
        assert known.holds in lines[name]


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_says_what_it_needs(name):
    with pytest.raises(InputError) as caught:
        resolve(name)
    assert all(word in str(caught.value) for word in (name, KNOWN[name].hub_id, "emo-convert"))
    assert ("then `emo-convert FOLDER" in str(caught.value)) == KNOWN[name].converts
    assert "\n" not in str(caught.value)
