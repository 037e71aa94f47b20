"""What a PDF and a DOCX of a long transcript cost, each in the process of its own that makes it.

.venv/bin/python -m bench.documents
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from api.formats.document import Document, printable
from api.speech import Segment, Transcript

SENTENCES = {
    "en": "We looked at the budget again and moved the launch to spring.",
    "ar": "راجعنا الميزانية مرة أخرى ونقلنا موعد الإطلاق إلى الربيع القادم.",
    "hi": "हमने बजट फिर से देखा और शुरुआत को वसंत तक बढ़ा दिया।",
    "zh": "我们又看了一遍预算,把发布时间改到了春天。",
}
SEGMENT_S = 3.6


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10, help="(%(default)s)")
    arguments = parser.parse_args(argv)
    segments = int(arguments.hours * 3600 / SEGMENT_S)
    print("| document | took | memory at most | size |\n|---|---|---|---|")
    for language, sentence in SENTENCES.items():
        for format_ in ("pdf", "docx"):
            seconds, memory_mib, size = write(format_, long_document(language, sentence, segments))
            print(
                f"| {format_}, {language} | {seconds:.1f} s | {memory_mib:.0f} MiB | {size / 1e6:.1f} MB |", flush=True
            )


def long_document(language: str, sentence: str, segments: int) -> Document:
    said = tuple(
        Segment(
            number * SEGMENT_S,
            number * SEGMENT_S + 3,
            sentence,
            0.9,
            (),
            -0.1,
            0.0,
            1.0,
            f"Speaker {number // 9 % 3 + 1}",
        )
        for number in range(segments)
    )
    names = tuple(f"Speaker {number}" for number in (1, 2, 3))
    transcript = Transcript(language, 1.0, segments * SEGMENT_S, said, "demo", names)
    return Document(transcript, "A long day", datetime.now(UTC))


def write(format_: str, document: Document) -> tuple[float, float, int]:
    """Seconds, MiB of memory at most, bytes written."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.formats.render", format_], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.msgpack.encode(printable(document)))
    process.stdin.close()
    size = len(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - began, usage.ru_maxrss / 1024, size


if __name__ == "__main__":
    main()
