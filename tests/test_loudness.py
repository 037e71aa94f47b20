"""Loudness against pyloudnorm, the limiter against a finer look at its peaks, WAV against those who read it."""

from __future__ import annotations

import io
import subprocess
from itertools import pairwise

import imageio_ffmpeg
import numpy as np
import pyloudnorm
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from api.audio.enhance import CEILING
from api.audio.limiter import Limiter
from api.audio.loudness import SILENT, LoudnessMeter
from api.audio.wav import to_pcm, wav_header
from api.inference.base import Floats

SEEDS = st.integers(0, 2**32 - 1)
RATE_HZ = 48_000


def speech_like(seed: int, seconds: float, channels: int, rate_hz: int = RATE_HZ) -> Floats:
    """Noise that swells, pauses and bangs, with an offset."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * rate_hz)
    swell = np.interp(np.arange(frames), np.linspace(0, frames, 12), rng.choice([0, 0.001, 0.1, 0.3], 12))
    sound = rng.standard_normal((frames, channels)) * swell[:, None] + rng.normal() * 0.01
    sound[rng.integers(frames, size=3)] += rng.normal() * 2
    return np.asarray(sound, dtype=np.float32)


def pieces(sound: Floats, cuts: list[float]) -> list[Floats]:
    """The same in pieces, cut at these parts of it."""
    places = [0, *sorted(int(cut * len(sound)) for cut in cuts), len(sound)]
    return [sound[start:end] for start, end in pairwise(places)]


def loudness(sound: Floats, rate_hz: int = RATE_HZ) -> float:
    meter = LoudnessMeter(rate_hz, sound.shape[1])
    meter.push(sound)
    return meter.integrated()


def true_peak_dbtp(sound: Floats) -> float:
    """Looked at eight times as closely as it is sampled."""
    closely = resample_poly(sound.reshape(len(sound), -1).astype(np.float64), 8, 1, axis=0)
    return float(20 * np.log10(np.abs(closely).max()))


@settings(max_examples=25)
@given(SEEDS, st.integers(4, 60), st.sampled_from([1, 2]), st.sampled_from([16_000, 44_100, 48_000]))
def test_loudness_is_that_of_the_reference(seed: int, steps: int, channels: int, rate_hz: int) -> None:
    sound = speech_like(seed, steps / 10, channels, rate_hz)
    reference = pyloudnorm.Meter(rate_hz, filter_class="DeMan").integrated_loudness(sound.astype(np.float64))
    assert loudness(sound, rate_hz) == pytest.approx(max(reference, SILENT), abs=1e-3)


@settings(max_examples=25)
@given(SEEDS, st.floats(0, 5), st.lists(st.floats(0, 1), max_size=6))
def test_loudness_does_not_depend_on_blocks(seed: int, seconds: float, cuts: list[float]) -> None:
    sound = speech_like(seed, 0.01 + seconds, 2)
    meter = LoudnessMeter(RATE_HZ, 2)
    for piece in pieces(sound, cuts):
        meter.push(piece)
    assert meter.integrated() == loudness(sound)


def test_the_loudness_of_what_the_standard_names() -> None:
    """997 Hz at full scale is -3.01 LUFS in one channel, however short; silence has no loudness."""
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * RATE_HZ) / RATE_HZ).astype(np.float32)[:, None]
    assert loudness(tone) == pytest.approx(-3.01, abs=0.01)
    assert loudness(np.tile(tone, 2)) == pytest.approx(0.0, abs=0.01)
    assert loudness(tone[: RATE_HZ // 4]) == pytest.approx(-3.01, abs=0.3)
    assert loudness(np.zeros_like(tone)) == loudness(tone[:0]) == SILENT


@settings(max_examples=25)
@given(SEEDS, st.floats(0, 3), st.sampled_from([1, 2]), st.sampled_from([0.1, 1.0, 10.0]))
def test_nothing_is_above_the_ceiling(seed: int, seconds: float, channels: int, gain: float) -> None:
    sound = speech_like(seed, 0.01 + seconds, channels) * np.float32(gain)
    limiter = Limiter(RATE_HZ, channels, CEILING)
    limited = np.concatenate([limiter.push(sound), limiter.flush()])
    assert limited.shape == sound.shape
    assert true_peak_dbtp(limited) <= -1
    assert np.all(np.abs(limited) <= np.abs(sound) + 1e-6)
    quiet = true_peak_dbtp(sound) < -1.5
    assert not quiet or np.array_equal(limited, sound)


@settings(max_examples=25)
@given(SEEDS, st.floats(0, 4), st.lists(st.floats(0, 1), max_size=6))
def test_limiting_does_not_depend_on_blocks(seed: int, seconds: float, cuts: list[float]) -> None:
    sound = 3 * speech_like(seed, 0.01 + seconds, 2)
    limiters = [Limiter(RATE_HZ, 2, CEILING), Limiter(RATE_HZ, 2, CEILING)]
    whole = [limiters[0].push(sound), limiters[0].flush()]
    in_pieces = [*map(limiters[1].push, pieces(sound, cuts)), limiters[1].flush()]
    assert np.array_equal(np.concatenate(whole), np.concatenate(in_pieces))


def test_a_bang_leaves_alone_what_is_far_from_it() -> None:
    sound = speech_like(1, 3, 1) * np.float32(0.05)
    sound[RATE_HZ] = 4.0
    limiter = Limiter(RATE_HZ, 1, CEILING)
    limited = np.concatenate([limiter.push(sound), limiter.flush()])
    near = np.abs(np.arange(len(sound)) - RATE_HZ) < 0.05 * RATE_HZ
    assert np.array_equal(limited[~near], sound[~near])
    assert np.abs(limited[RATE_HZ]) == pytest.approx(CEILING, rel=0.01)


PRINTABLE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=60)


@settings(max_examples=40)
@given(
    st.integers(0, 5000), st.sampled_from([1, 2]), st.sampled_from([8000, 24_000, 44_100, 48_000]),
    st.fixed_dictionaries({}, optional={"INAM": PRINTABLE, "ICMT": PRINTABLE, "ISFT": PRINTABLE}),
)  # fmt: skip
def test_a_wav_is_read_back(frames: int, channels: int, rate_hz: int, info: dict[str, str]) -> None:
    pcm = np.random.default_rng(frames).integers(-32767, 32768, (frames, channels)).astype("<i2")
    wav = wav_header(rate_hz, channels, frames, info) + pcm.tobytes()
    assert len(wav) == 8 + int.from_bytes(wav[4:8], "little")
    with soundfile.SoundFile(io.BytesIO(wav)) as file:
        assert (file.samplerate, file.channels, file.subtype) == (rate_hz, channels, "PCM_16")
        names = {"INAM": file.title, "ICMT": file.comment, "ISFT": file.software}
        assert {name: text for name, text in names.items() if text} == info
        assert np.array_equal(file.read(dtype="int16", always_2d=True), pcm)


def test_ffmpeg_reads_a_wav_and_what_it_says_of_itself() -> None:
    sound = speech_like(3, 1, 1)
    wav = wav_header(24_000, 1, len(sound), {"ICMT": "made by nobody"}) + to_pcm(sound).tobytes()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", "-", "-f", "s16le", "-"]
    read = subprocess.run(command, input=wav, capture_output=True, check=True)
    assert read.stdout == to_pcm(sound).tobytes()
    assert b"comment         : made by nobody" in read.stderr


def test_what_a_wav_cannot_hold() -> None:
    assert len(wav_header(48_000, 2, (2**32 - 37) // 4)) == 44
    with pytest.raises(ValueError, match="cannot have"):
        wav_header(48_000, 2, 2**30)
    assert to_pcm(np.array([-2, -1, 0, 0.5, 1, 2], dtype=np.float32)).tolist() == [
        -32767,
        -32767,
        0,
        16384,
        32767,
        32767,
    ]
