"""Make the demo Whisper: speech, training, checkpoint. Stopped at any time, the same command goes on with it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from export_scripts.demo.whisper.corpus import make_corpus
from export_scripts.demo.whisper.held_out import write_recordings
from export_scripts.demo.whisper.network import Shape
from export_scripts.demo.whisper.training import train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export_scripts.demo.whisper", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for speech (3 GB) and progress")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="for checkpoint/ and recordings/")
    parser.add_argument("--utterances", type=int, default=100_000, help="to train on (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for training (%(default)s)")
    arguments = parser.parse_args()

    speech = arguments.work / "speech"
    make_corpus(speech, utterances=arguments.utterances, seed=arguments.seed, processes=os.cpu_count() or 1)
    model = train(
        speech,
        arguments.work / "state.pt",
        seed=arguments.seed,
        threads=arguments.threads,
        shape=Shape(),
    )
    from export_scripts.demo.whisper.checkpoint import save_checkpoint

    save_checkpoint(model, arguments.to / "checkpoint")
    write_recordings(arguments.to / "recordings", seed=arguments.seed)


if __name__ == "__main__":
    main()
