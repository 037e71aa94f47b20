"""Words that nobody spoke: a recogniser now and then fills a pause with something likely.

Pure: a segment in, what is left of it out.
"""

from __future__ import annotations

from api.inference.base import Floats
from api.recognition.chunking import FRAME_S
from api.speech import Segment, Word

# Where every frame around a word is as silent as this, and the recogniser not sure of it, the word is an invention.
# Word times can be off by some frames, and a word that was spoken is worse lost than an invented one kept.
SILENT_PROBABILITY = 0.15
UNSURE_PROBABILITY = 0.5
MARGIN_S = 0.25


def without_inventions(segment: Segment, activity: Floats, start_s: float) -> Segment | None:
    """The segment with its spoken words alone; None where there is none. One without word times is left as it is.

    `activity` is the probability of speech in each frame of 32 ms from `start_s` on, the segment's own clock.
    """
    spoken = tuple(word for word in segment.words if not _is_invented(word, activity, start_s))
    if len(spoken) == len(segment.words):
        return segment
    return segment.part(spoken)


def _is_invented(word: Word, activity: Floats, start_s: float) -> bool:
    first = max(0, int((word.start - start_s - MARGIN_S) / FRAME_S))
    last = int((word.end - start_s + MARGIN_S) / FRAME_S) + 1
    around = activity[first:last]
    return bool(word.probability < UNSURE_PROBABILITY and around.size and around.max() < SILENT_PROBABILITY)
