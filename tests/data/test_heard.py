"""What a face does with a sound is a function of what the ear hears, as wide as the truth."""

import numpy as np
import pytest

from emo.data.animate import make_driver, parting
from emo.data.clip import list_clips, load_clip, save_clip
from emo.data.heard import fit_motion, listen
from emo.models.pretrained import load_part


@pytest.fixture
def obedient(make_clip, mesh_of, ear, tmp_path):
    """obedient(noise) -> clips whose mouths open with the square of the ear's first number, and by noise besides."""

    def make(noise: float):
        folder, rng = tmp_path / f"clips{noise}", np.random.default_rng(0)
        folder.mkdir()
        waves = [np.float32(rng.standard_normal(25600) * np.repeat(rng.random(40), 640)) for _ in range(3)]
        codes = np.stack([listen(load_part(ear), wave, 40)[:, 0] for wave in waves])
        for name, wave, code in zip(("one", "two", "three"), waves, codes, strict=True):
            clip, frames = make_clip(name, "anna", np.zeros(40))
            opened = ((code - codes.min()) / np.ptp(codes)) ** 2 + noise * rng.random(40)
            clip.wave, clip.mesh = wave, np.float32([mesh_of(o) for o in opened])
            save_clip(folder, clip, iter(frames))
        return list_clips([str(folder)])

    return make


def test_motion_that_obeys_the_ear_is_found(obedient, ear):
    clips = obedient(0.0)
    motion = fit_motion(clips, load_part(ear))
    assert motion.scale == pytest.approx(1, abs=0.1)
    clip = load_clip(clips[0])
    made, true = motion(clip.wave, 40), make_driver(clip.mesh, []).shifts
    assert np.corrcoef(parting(made), parting(true))[0, 1] > 0.9


def test_what_the_ear_cannot_tell_is_made_up_for_in_width(obedient, ear):
    clips = obedient(2.0)
    motion = fit_motion(clips, load_part(ear))
    loaded = [load_clip(path) for path in clips]
    told = np.concatenate([parting(motion(clip.wave, 40)) for clip in loaded])
    true = np.concatenate([parting(make_driver(clip.mesh, []).shifts) for clip in loaded])
    assert motion.scale > 1.3 and told.std() == pytest.approx(true.std(), rel=1e-3)


def test_silence_moves_nothing(obedient, ear):
    assert np.abs(fit_motion(obedient(0.0), load_part(ear))(np.zeros(16000, np.float32), 20)).max() < 1e-9
