"""A buffer of growing sound keeps its time when it is trimmed."""

import numpy as np

from emo.media.audio import AudioBuffer


def test_trimmed_sound_keeps_its_time():
    sound = AudioBuffer(iter(np.split(np.arange(40, dtype=np.float32), range(7, 40, 7))), 10, np.zeros(0, np.float32))
    sound.read_until(2.0)
    assert len(sound.wave) == 21 and not sound.ended
    sound.trim(1.5)
    sound.trim(1.0)
    assert sound.first_sample == 15 and sound.wave[0] == 15
    sound.read_until(9.0)
    assert sound.ended and sound.seconds == 4.0 and sound.wave[-1] == 39
