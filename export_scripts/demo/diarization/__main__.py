"""Make the demo diarization models: speech, training, checkpoint. Stopped at any time, the same command goes on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from export_scripts.demo.diarization.checkpoint import EMBEDDING, SEGMENTATION, save_checkpoint
from export_scripts.demo.diarization.corpus import make_corpus
from export_scripts.demo.diarization.training import train_embedding, train_segmentation


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export_scripts.demo.diarization", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for speech (1 GB) and progress")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="for checkpoint/")
    parser.add_argument(
        "--shards", type=int, default=20, help="of 120 speakers each, 80 of them in voices of our own (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="for training (%(default)s): more gain nothing")
    arguments = parser.parse_args()

    speech = arguments.work / "speech"
    make_corpus(speech, shards=arguments.shards, seed=arguments.seed, processes=os.cpu_count() or 1)
    torch.set_num_threads(arguments.threads)
    embedding = train_embedding(speech, arguments.work / "embedding.pt", seed=arguments.seed)
    save_checkpoint(embedding, arguments.to / "checkpoint" / EMBEDDING)
    segmentation = train_segmentation(speech, embedding, arguments.work / "segmentation.pt", seed=arguments.seed)
    save_checkpoint(segmentation, arguments.to / "checkpoint" / SEGMENTATION)


if __name__ == "__main__":
    main()
