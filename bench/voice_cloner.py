"""How long a voice cloner takes, without Triton: `python -m bench.voice_cloner --version MODELS/voice_cloner/1`.

What it costs does not depend on its weights, so that random ones of the real size do (docs/models.md).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np

from export_scripts.engines import load_engine

REFERENCE_TEXT = "Some call me nature, others call me mother nature, and I do not mind."
REFERENCE_S = 5
TEXTS = (
    "I do not mind.",
    "I have been here for over four and a half billion years, and I will be.",
    "I have been here for over four and a half billion years, twenty-two thousand five hundred times longer than you, "
    "and I do not really need people; but people need me, and your future depends on me.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=Path, required=True, help="the version's directory")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--together", type=int, default=1, help="so many utterances in one batch")
    arguments = parser.parse_args()
    engine = load_engine("voice_cloner")
    sampling = engine.Sampling(arguments.steps)
    cloner = engine.VoiceClonerEngine(arguments.version / "weights", threads=arguments.threads, sampling=sampling)
    time_s = np.arange(REFERENCE_S * engine.SAMPLE_RATE_HZ) / engine.SAMPLE_RATE_HZ
    reference = np.round(9000 * np.sign(np.sin(2 * np.pi * 110 * time_s))).astype(np.int16)
    print(f"{arguments.threads} threads, {arguments.steps} steps, {arguments.together} at once")
    print("speech     took       CPU time   a second of speech")
    for text in TEXTS:
        options = [engine.SpeechOptions(REFERENCE_TEXT, text, seed=seed) for seed in range(arguments.together)]
        started_s, cpu_s = time.perf_counter(), time.process_time()
        spoken = cloner.speak([(reference, one) for one in options])
        took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        speech_s = sum(one.size for one in spoken) / engine.SAMPLE_RATE_HZ
        print(f"{speech_s:5.1f} s  {took_s:7.1f} s  {cpu_s:7.1f} s  {cpu_s / speech_s:7.1f} s of one core", flush=True)
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f} GB")


if __name__ == "__main__":
    main()
