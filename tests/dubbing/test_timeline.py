"""How films are laid out for sounds of other lengths, and when a face is changed."""

import numpy as np
import pytest

from emo.dubbing.film import Part, open_film
from emo.dubbing.timeline import Take, cut_spans, fade_in_and_out, is_touched, lay_out


@pytest.fixture
def film(make_film):
    """1.6 s at 25 frames per second, without sound."""
    return open_film(make_film(sounds=(), frames=40))


@pytest.mark.parametrize(
    ("mode", "sound", "takes", "seconds"),
    [
        ("silence", 1.0, 1, 1.6),
        ("silence", 5.0, 1, 1.6),
        ("cut", 1.0, 1, 1.0),
        ("cut", 5.0, 1, 1.6),
        ("loop", 4.0, 3, 4.0),
        ("bounce", 4.0, 3, 4.0),
        ("bounce", 1.0, 1, 1.6),
    ],
)
def test_lengths(film, mode, sound, takes, seconds):
    shown, length = lay_out(film, sound, mode)
    assert len(shown) == takes and length == pytest.approx(seconds)
    assert [take.is_reversed for take in shown] == [mode == "bounce" and k % 2 == 1 for k in range(takes)]


def test_a_film_goes_back_and_forth(film):
    there, back = Take(0, False), Take(1, True)
    frames = np.arange(40)
    assert there.seconds(film, frames)[[0, 39]].tolist() == pytest.approx([0, 1.56])
    assert back.seconds(film, frames)[[0, 39]].tolist() == pytest.approx([3.16, 1.6])
    assert Take(2, False).seconds(film, frames)[0] == pytest.approx(3.2)


def test_strength_rises_and_falls_inside_of_turns():
    times = np.arange(0, 4, 0.04)
    inside = cut_spans(times, [(1.0, 2.0), (2.1, 2.2)], pad_seconds=0.1)
    strength = fade_in_and_out(times, inside)
    assert times[inside][[0, -1]].tolist() == pytest.approx([0.92, 2.28], abs=0.021)
    assert strength[~inside].max() == 0 and strength.max() == 1
    assert 0 < strength[np.flatnonzero(inside)[0]] < 1 and np.all(strength[(times > 1.1) & (times < 2.1)] == 1)
    assert fade_in_and_out(times, np.ones(100, bool)).min() == 1  # a face that is seen to the end of its shot


def test_parts_with_a_changed_face():
    strength = np.r_[np.zeros(5), np.ones(5)]
    touched = [is_touched(Part(a, a + 10, a, a + 10), [(20, strength)]) for a in (0, 10, 15, 16, 20, 30)]
    assert touched == [False, False, False, True, True, False]
