"""Sound heard piece by piece: what is forgotten keeps its time."""

import numpy as np

from emo.media.audio import Sound


def test_forgotten_sound_keeps_its_time():
    sound = Sound(iter(np.split(np.arange(40, dtype=np.float32), range(7, 40, 7))), 10, np.zeros(0, np.float32))
    sound.hear(2.0)
    assert len(sound.wave) == 21 and not sound.ended
    sound.forget(1.5)
    sound.forget(1.0)
    assert sound.first_sample == 15 and sound.wave[0] == 15
    sound.hear(9.0)
    assert sound.ended and sound.seconds == 4.0 and sound.wave[-1] == 39
