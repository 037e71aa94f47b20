"""Whatever is sent as a recording gets a transcript or a 4xx, at a bounded cost, and leaves nothing behind.

`python -m tests.mutants` does the same with more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ffmpeg
from tests.mutants import (
    FORMATS,
    SEED,
    large_cover,
    make_originals,
    mutant,
    peak_memory_of_children,
    send,
    slow_wav,
    wide_wav,
)
from tests.running import FakeService
from tests.test_bad_input import refused
from tests.test_bad_input import send as send_file
from tests.test_memory import MIB, peak_memory

COUNT = 4 * len(FORMATS)
ANSWER_S = 60  # less than a decoder is allowed, yet far more than any of these takes
SERVICE_BYTES = 128 * MIB
DECODER_BYTES = 512 * MIB


@pytest.fixture
def service(fake_service: FakeService) -> Iterator[FakeService]:
    yield fake_service
    fake_service.assert_nothing_left()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_originals(tmp_path_factory.mktemp("originals"))


def test_every_format_as_it_should_be(service: FakeService, originals: dict[str, bytes]) -> None:
    """Without it, a decoder that refuses everything would pass for a safe one."""
    for name in FORMATS:
        if not name.startswith("holes"):
            answer = send_file(service, originals[name], name).json()
            assert answer.get("duration") == pytest.approx(1.9, abs=0.15), (name, answer)
            assert "warnings" not in answer, name


def test_mutants(service: FakeService, originals: dict[str, bytes]) -> None:
    send(service.client, mutant(originals, SEED, 0))
    open_files = len(service.open_files())
    with peak_memory(service) as peak, peak_memory_of_children(service.process) as decoder:
        outcomes = [send(service.client, mutant(originals, SEED, number)) for number in range(COUNT)]
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert {outcome.status for outcome in outcomes} >= {200, 400}
    assert max(outcome.seconds for outcome in outcomes) <= ANSWER_S
    assert peak.bytes <= SERVICE_BYTES
    assert decoder.bytes <= DECODER_BYTES
    service.assert_nothing_left()
    assert len(service.open_files()) <= open_files


def test_a_few_bytes_cannot_become_hours(service: FakeService) -> None:
    """One sample a second, well within the hour that is allowed here."""
    refused(send_file(service, slow_wav(Random(1))), "So small a file with more than 13 minutes")


def test_more_channels_than_can_be_mixed(service: FakeService) -> None:
    refused(send_file(service, wide_wav(Random(1))), "many channels", "mono or stereo")


def test_a_cover_is_not_looked_at(service: FakeService) -> None:
    """It would take 128 MB."""
    with peak_memory_of_children(service.process) as decoder:
        assert send_file(service, large_cover(Random(1))).json()["duration"] == pytest.approx(2.1, abs=0.1)
    assert 0 < decoder.bytes <= 80 * MIB


def test_an_hour_without_sound_keeps_its_place(service: FakeService, tmp_path: Path) -> None:
    """As 5.1 at 48 kHz it would be more than a decoder may take."""
    source = ["-f", "lavfi", "-i", "sine=440:d=4:r=48000", "-ac", "6"]
    ffmpeg(*source, "-af", "asetpts=PTS+gte(N\\,96000)*3500*SR", "-c:a", "flac", tmp_path / "hole.mka")
    answer = send_file(service, (tmp_path / "hole.mka").read_bytes()).json()
    assert answer["duration"] == pytest.approx(3504, abs=0.1)
    assert "warnings" not in answer
