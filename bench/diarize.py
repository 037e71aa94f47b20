"""Who spoke when: how right the service's diarization is and what it costs, beside pyannote.audio on the same networks.

    .venv/bin/python -m bench.diarize
    .venv/bin/python -m bench.diarize --tune

Makes dialogues in voices that no training had (seeded; kept in --work), and prints Markdown. Both diarize in a process
of their own on one thread, with the speaker models that `make up` leaves in .tritone/model_repository: here the code
of the service, over its engines; there pyannote's pipeline (bench/diarize_pyannote.py), in the environment of
`make pyannote`. Diarization error rates (DER) are strict: no collar, overlapped speech included.

--tune tries steps, smallest clusters and thresholds for the demo's models instead, on dialogues of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from api.inference.base import Flags, Pcm, SpeakerModels, Voices
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, SPEAKER_EMBEDDING, SPEAKER_SEGMENTATION
from api.recognition.activity import STEP_SAMPLES
from api.recognition.speakers import DiarizationPlan, Diarizer, SpeakerBounds
from bench.diarize_pyannote import SAMPLE_RATE_HZ, Measured, Pair, Score, Turns, measured
from bench.in_process import SpeakersInProcess, card_of
from export_scripts.demo.diarization import held_out
from export_scripts.demo.speech.espeak import Floats

PYANNOTE = Path(".venv-pyannote") / "bin" / "python"

DIALOGUE_S = (120.0, 180.0)
CONDITIONS = [(speakers, overlap) for overlap in (0.0, 0.3) for speakers in (2, 3, 5)]
LONG_SPEAKERS, LONG_OVERLAP = 4, 0.1
LONG_SOURCE_S = 20 * 60.0

STEPS_S = (1.0, 2.5, 5.0)
MIN_CLUSTER_SIZES = (4, 8, 12)
THRESHOLDS = [round(0.1 * tenths, 1) for tenths in range(5, 12)]


@dataclass(frozen=True)
class Recording:
    """A file, and who speaks when in it."""

    path: Path
    turns: Turns

    @property
    def seconds(self) -> float:
        return float(soundfile.info(self.path).duration)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--work", type=Path, default=Path(".tritone/diarize"), help="for recordings (%(default)s)")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--dialogues", type=int, default=8, help="of each kind; 0: no accuracy (%(default)s)")
    parser.add_argument("--minutes", type=float, nargs="*", default=[10, 60, 240], help="none: no cost (%(default)s)")
    parser.add_argument("--tune", action="store_true")
    arguments = parser.parse_args(argv)
    if not PYANNOTE.exists():
        parser.error(f"There is no {PYANNOTE}, which pyannote and its metric need: run `make pyannote`.")
    # Read by BLAS as it is loaded, in the processes that are started below.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    if arguments.tune:
        tune(arguments.repository, arguments.work / f"tune-{arguments.seed}", arguments.dialogues, arguments.seed)
        return
    work = arguments.work / str(arguments.seed)
    if arguments.dialogues:
        print_accuracy(arguments.repository, write_dialogues(work, arguments.dialogues, arguments.seed))
    if arguments.minutes:
        recordings = [write_long(work, minutes, arguments.seed) for minutes in arguments.minutes]
        print_cost(arguments.repository, recordings)


def print_accuracy(repository: Path, dialogues: dict[str, list[Recording]]) -> None:
    recordings = [recording for kind in dialogues.values() for recording in kind]
    found = {"tritone": _ours(repository, recordings), "pyannote": _pyannote(repository, recordings)}
    paths = [recording.path for recording in recordings]
    turns = {system: dict(zip(paths, one["turns"], strict=True)) for system, one in found.items()}
    minutes = sum(recording.seconds for recording in recordings) / 60
    print(f"| {len(recordings)} dialogues, {minutes:.0f} min | | miss | false alarm | confusion | DER | voices right |")
    print("|---|---|---|---|---|---|---|")
    for kind, some in [*dialogues.items(), ("all", recordings)]:
        for system in found:
            of_kind = [turns[system][one.path] for one in some]
            right = sum(_voices(one) == _voices(recording.turns) for one, recording in zip(of_kind, some, strict=True))
            cells = " | ".join(_shares(scores_of(some, of_kind)))
            print(f"| {kind} | {system} | {cells} | {right} of {len(some)} |", flush=True)
    theirs = [Recording(one.path, turns["pyannote"][one.path]) for one in recordings]
    apart = _shares(scores_of(theirs, found["tritone"]["turns"]))[-1]
    print(f"\nDER of tritone's turns with pyannote's as the reference: {apart}\n", flush=True)


def print_cost(repository: Path, recordings: Sequence[Recording]) -> None:
    print("| recording | | wall | CPU | audio s per s | memory at most | more than the first | DER | voices |")
    print("|---|---|---|---|---|---|---|---|---|")
    first: dict[str, int] = {}
    for recording in recordings:
        seconds = recording.seconds
        for system, diarized in (("tritone", _ours), ("pyannote", _pyannote)):
            one = diarized(repository, [recording])
            more = one["peak_bytes"] - first.setdefault(system, one["peak_bytes"])
            print(
                f"| {seconds / 60:.0f} min | {system} | {one['wall_s']:.1f} s | {one['cpu_s']:.1f} s"
                f" | {seconds / one['wall_s']:.0f} | {one['peak_bytes'] / 1024**2:.0f} MiB"
                f" | {more / 1024**2:.0f} MiB | {_shares(scores_of([recording], one['turns']))[-1]}"
                f" | {_voices(one['turns'][0])} of {_voices(recording.turns)} |",
                flush=True,
            )


def tune(repository: Path, work: Path, dialogues: int, seed: int) -> None:
    """Each window goes through the networks once; what changes is which windows are looked at, and the clustering."""
    kinds = write_dialogues(work, dialogues, f"{seed}/tune")
    recordings = [recording for kind in kinds.values() for recording in kind]
    clustering = card_of(repository, SPEAKER_EMBEDDING).clustering
    plans = [
        DiarizationPlan(step_s, msgspec.structs.replace(clustering, threshold=threshold, min_cluster_size=size))
        for step_s in STEPS_S
        for size in MIN_CLUSTER_SIZES
        for threshold in THRESHOLDS
    ]
    models = SpeakersInProcess(repository)
    found: list[list[Turns]] = [[] for _ in plans]
    for recording in recordings:
        remembered = Remembered(models)
        for plan, turns in zip(plans, found, strict=True):
            turns.append(asyncio.run(turns_of(remembered, plan, recording.path)))
    scores = scores_of(recordings * len(plans), [one for turns in found for one in turns])
    print("| step | smallest cluster | threshold | miss | false alarm | confusion | DER | voices right |")
    print("|---|---|---|---|---|---|---|---|")
    for index, (plan, turns) in enumerate(zip(plans, found, strict=True)):
        of_plan = scores[index * len(recordings) :][: len(recordings)]
        right = sum(_voices(one) == _voices(recording.turns) for one, recording in zip(turns, recordings, strict=True))
        tried = f"{plan.step_s:g} s | {plan.clustering.min_cluster_size} | {plan.clustering.threshold}"
        cells = f"{tried} | {' | '.join(_shares(of_plan))}"
        print(f"| {cells} | {right} of {len(recordings)} |")


class Remembered:
    """Speaker models that are asked about every window of a recording once, however often it is looked at."""

    def __init__(self, models: SpeakerModels) -> None:
        self._models = models
        self._active: dict[bytes, Flags] = {}
        self._voices: dict[tuple[bytes, bytes], Voices] = {}

    async def segment(self, pcm: Pcm, *, version: str = "", live: bool = False) -> Flags:
        key = pcm.tobytes()
        if key not in self._active:
            self._active[key] = await self._models.segment(pcm)
        return self._active[key]

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, version: str = "", live: bool = False) -> Voices:
        key = pcm.tobytes(), masks.tobytes()
        if key not in self._voices:
            self._voices[key] = await self._models.embed(pcm, masks, features=features)
        return self._voices[key]


def _ours(repository: Path, recordings: Sequence[Recording]) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(diarize, repository, [recording.path for recording in recordings]).result()


def diarize(repository: Path, recordings: Sequence[Path]) -> Measured:
    models = SpeakersInProcess(repository)
    plan = DiarizationPlan(
        card_of(repository, SPEAKER_SEGMENTATION).step_s, card_of(repository, SPEAKER_EMBEDDING).clustering
    )
    return measured(recordings, lambda recording: asyncio.run(turns_of(models, plan, recording)))


async def turns_of(models: SpeakerModels, plan: DiarizationPlan, recording: Path) -> Turns:
    diarizer = Diarizer(models, plan, SpeakerBounds(), in_flight=1)
    with soundfile.SoundFile(recording) as file:
        while (pcm := file.read(STEP_SAMPLES, dtype="int16")).size:
            speech = np.ones(-(-pcm.size // ACTIVITY_FRAME_SAMPLES), dtype=np.float32)
            await diarizer.hear(pcm, speech)
    await diarizer.end()
    return [(turn.start, turn.end, turn.speaker) for turn in await diarizer.turns(exclusive=False)]


def _pyannote(repository: Path, recordings: Sequence[Recording]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "measured.json"
        paths = [str(recording.path) for recording in recordings]
        _run_pyannote("diarize", *paths, "--repository", str(repository), "--to", str(answer))
        return msgspec.json.decode(answer.read_bytes(), type=Measured)


def scores_of(recordings: Sequence[Recording], found: Sequence[Turns]) -> list[Score]:
    pairs = [
        Pair(reference=recording.turns, hypothesis=turns, seconds=recording.seconds)
        for recording, turns in zip(recordings, found, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "pairs.json", Path(folder) / "scores.json"
        question.write_text(json.dumps(pairs))
        _run_pyannote("score", str(question), "--to", str(answer))
        return msgspec.json.decode(answer.read_bytes(), type=list[Score])


def _run_pyannote(*arguments: str) -> None:
    subprocess.run([PYANNOTE, "-m", "bench.diarize_pyannote", *arguments], check=True)


def _shares(scores: Sequence[Score]) -> list[str]:
    """Miss, false alarm, confusion and DER over all of them."""
    total = sum(score["total"] for score in scores)
    parts = [
        sum(score["miss"] for score in scores),
        sum(score["false_alarm"] for score in scores),
        sum(score["confusion"] for score in scores),
    ]
    return [f"{part / total:.1%}" for part in [*parts, sum(parts)]]


def _voices(turns: Turns) -> int:
    return len({speaker for _, _, speaker in turns})


def write_dialogues(work: Path, number: int, seed: object) -> dict[str, list[Recording]]:
    """Of each kind so many; those that are there already stay."""
    work.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, list[Recording]] = {}
    with held_out.speech() as espeak:
        for speakers, overlap in CONDITIONS:
            recordings = kinds.setdefault(f"{speakers} voices{', overlap' if overlap else ''}", [])
            for index in range(number):
                path = work / f"{speakers}-voices-{overlap:g}-{index}.flac"
                if not path.with_suffix(".json").exists():
                    rng = random.Random(f"{seed}/{path.name}")
                    one = held_out.dialogue(
                        espeak, rng, speakers=speakers, seconds=rng.uniform(*DIALOGUE_S), overlap=overlap
                    )
                    soundfile.write(path, one.samples, SAMPLE_RATE_HZ, "PCM_16")
                    _write_turns(path, [(turn.start, turn.end, turn.speaker) for turn in one.turns])
                recordings.append(_read(path))
    return kinds


def write_long(work: Path, minutes: float, seed: int) -> Recording:
    """A shorter dialogue, taken apart where nobody speaks, its pieces again and again in ever another order."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"{minutes:g}-min.flac"
    if path.with_suffix(".json").exists():
        return _read(path)
    rng = random.Random(f"{seed}/long")
    with held_out.speech() as espeak:
        source = held_out.dialogue(
            espeak, rng, speakers=LONG_SPEAKERS, seconds=min(60 * minutes, LONG_SOURCE_S), overlap=LONG_OVERLAP
        )
    pieces = _pieces(source)
    turns: Turns = []
    written = 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        while written < 60 * minutes * SAMPLE_RATE_HZ:
            for piece in rng.sample(pieces, len(pieces)):
                file.write(piece.samples)
                at = written / SAMPLE_RATE_HZ
                turns += [(at + start, at + end, speaker) for start, end, speaker in piece.turns]
                written += piece.samples.size
                if written >= 60 * minutes * SAMPLE_RATE_HZ:
                    break
    _write_turns(path, turns)
    return _read(path)


@dataclass(frozen=True)
class Piece:
    """Of a dialogue; times from its own start."""

    samples: Floats
    turns: Turns


def _pieces(source: held_out.Dialogue) -> list[Piece]:
    groups: list[list[held_out.Turn]] = []
    spoken_until = -1.0
    for turn in source.turns:
        if turn.start > spoken_until:
            groups.append([])
        groups[-1].append(turn)
        spoken_until = max(spoken_until, turn.end)
    ends = [max(turn.end for turn in group) for group in groups]
    cuts = [(end + group[0].start) / 2 for end, group in zip(ends[:-1], groups[1:], strict=True)]
    edges = [round(cut * SAMPLE_RATE_HZ) for cut in [0.0, *cuts, source.duration_s]]
    return [
        Piece(
            source.samples[first:last],
            [(turn.start - first / SAMPLE_RATE_HZ, turn.end - first / SAMPLE_RATE_HZ, turn.speaker) for turn in group],
        )
        for first, last, group in zip(edges[:-1], edges[1:], groups, strict=True)
    ]


def _write_turns(path: Path, turns: Turns) -> None:
    path.with_suffix(".json").write_text(json.dumps(turns))


def _read(path: Path) -> Recording:
    return Recording(path, msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Turns))


if __name__ == "__main__":
    main()
