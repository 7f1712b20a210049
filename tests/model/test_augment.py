"""Changes to pictures and sounds are seeded and keep what the text says true."""

import numpy as np
import pytest

from model.data import augment
from tests.media_files import tone


def test_changes_are_the_same_for_equal_seeds_and_keep_the_shape() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    one, two = (augment.pictures(frames, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == frames.shape and one.dtype == np.uint8 and not np.array_equal(one, frames)
    other = augment.pictures(frames, np.random.default_rng(6))
    assert not np.array_equal(one, other)


def test_no_mirror_where_a_text_names_a_side() -> None:
    assert not augment.may_mirror(("a dog", "A man turns LEFT"))
    assert augment.may_mirror(("a bright leftover",))
    ramp = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, None, :, None], (1, 32, 1, 3))
    for seed in range(12):
        changed = augment.pictures(ramp, np.random.default_rng(seed), mirror=False)[0, :, :, 0].astype(float)
        assert changed[:, 0].mean() < changed[:, -1].mean()
    mirrored = [augment.pictures(ramp, np.random.default_rng(seed))[0, :, :, 0].astype(float) for seed in range(12)]
    assert any(picture[:, 0].mean() > picture[:, -1].mean() for picture in mirrored)


@pytest.mark.parametrize("colour", augment.NOISES)
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_stands_where_it_is_said_within_the_band(colour: str, snr_db: float) -> None:
    wave = tone(1.0, 16_000, hertz=500.0)[0]
    noise = augment.colour(colour, len(wave), np.random.default_rng(1))
    mixed = augment.mix(wave, noise, snr_db)
    added = augment._power(mixed - wave)
    assert 10 * np.log10(augment._power(wave) / added) == pytest.approx(snr_db, abs=0.1)


def test_sound_changes_keep_silence_and_the_range() -> None:
    assert not len(augment.sound(np.zeros(0, np.float32), np.random.default_rng(0)))
    wave = tone(0.5, 16_000)[0]
    made = [augment.sound(wave, np.random.default_rng(seed), [wave, wave]) for seed in range(20)]
    assert all(np.abs(one).max() <= 1.0 and one.dtype == np.float32 for one in made)
    assert min(map(len, made)) < len(wave) < max(map(len, made))
    np.testing.assert_array_equal(made[3], augment.sound(wave, np.random.default_rng(3), [wave, wave]))


def test_a_room_and_a_microphone_keep_length_and_level() -> None:
    rng = np.random.default_rng(3)
    wave = (0.1 * np.sin(np.arange(16_001) * 0.2)).astype(np.float32)
    for change in (augment.reverberate, augment.microphone):
        changed = change(wave, rng)
        assert changed.shape == wave.shape and changed.dtype == np.float32
        assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(np.mean(wave**2)), rel=1e-3)
        assert not np.allclose(changed, wave, atol=1e-3)


def test_a_room_echoes_after_the_sound_and_never_before() -> None:
    click = np.zeros(8000, np.float32)
    click[3000] = 1.0
    heard = augment.reverberate(click, np.random.default_rng(1))
    assert np.abs(heard[:3000]).max() < 1e-6 and np.abs(heard[3001:]).max() > 1e-3
