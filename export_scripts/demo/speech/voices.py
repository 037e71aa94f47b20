"""Who speaks: eSpeak NG's own voice variants, and as many more of our own as training wants."""

from __future__ import annotations

import random

# What each language is spoken with; a name more than once is chosen more often.
ACCENTS = {
    "en": ("en-us", "en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland"),
    "es": ("es", "es-419"),
}
# Kept out of training: the demo model is measured on them.
UNSEEN = ("m3", "f2", "Andy", "linda")
SEEN = (
    *("m1", "m2", "m4", "m5", "m6", "m7", "m8", "f1", "f3", "f4", "f5", "Alex", "Alicia", "Annie", "Denis", "Diogo"),
    *("Gene", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Mike", "adam", "anika", "announcer", "aunty", "belinda"),
    *("benjamin", "boris", "caleb", "david", "ed", "edward", "john", "max", "michel", "miguel", "norbert", "paul"),
    *("quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
)
# Of our own in each shard of the corpus: eSpeak NG lists no more than 349 voices in all.
RANDOM_VOICES = 80
# The share of training speech that the random voices speak.
RANDOM_SHARE = 0.65


def random_voices(seed: str) -> dict[str, str]:
    """Variant files within the range of the built-in ones, which alone are too few to learn what voices share."""
    rng = random.Random(seed)
    return {f"random{index}": _variant(f"random{index}", rng) for index in range(RANDOM_VOICES)}


def training_voice(language: str, rng: random.Random) -> str:
    variant = f"random{rng.randrange(RANDOM_VOICES)}" if rng.random() < RANDOM_SHARE else rng.choice(SEEN)
    return f"{rng.choice(ACCENTS[language])}+{variant}"


def unseen_voice(language: str, rng: random.Random) -> str:
    return f"{rng.choice(ACCENTS[language])}+{rng.choice(UNSEEN)}"


def seen_voice(language: str, rng: random.Random) -> str:
    return f"{rng.choice(ACCENTS[language])}+{rng.choice(SEEN)}"


def _variant(name: str, rng: random.Random) -> str:
    """See eSpeak NG's docs/voices.md for the attributes; formants are frequency, strength and width in percent."""
    pitch = round(rng.triangular(60, 215, 100))
    lines = ["language variant", f"name {name}", f"pitch {pitch} {pitch + rng.randint(8, 80)}"]
    tract = rng.uniform(0.86, 1.28)  # vocal tract length, which moves all formants together
    lines.append(f"formant 0 {rng.randint(80, 120)} {rng.randint(70, 120)} {rng.randint(80, 155)}")
    for formant in range(1, 9):
        frequency = round(100 * tract * rng.uniform(0.93, 1.07))
        strength, width = rng.randint(55, 120), rng.randint(70, 170)
        if formant in (3, 6, 7, 8) and rng.random() < 0.15:
            frequency = strength = width = 0
        lines.append(f"formant {formant} {min(frequency, 140)} {strength} {width}")
    if rng.random() < 0.5:
        lines.append("stressAdd " + " ".join(str(rng.randint(-30, 60)) for _ in range(8)))
    if rng.random() < 0.3:
        lines.append("stressAmp " + " ".join(str(rng.randint(14, 35)) for _ in range(8)))
    if rng.random() < 0.4:
        lines.append(f"flutter {rng.randint(0, 20)}")
    if rng.random() < 0.4:
        lines.append(f"roughness {rng.randint(0, 4)}")
    if rng.random() < 0.5:
        lines.append(f"voicing {rng.randint(60, 125)}")
    if rng.random() < 0.5:
        lines.append(f"consonants {rng.randint(60, 150)} {rng.randint(80, 140)}")
    if rng.random() < 0.2:
        lines.append("breath " + " ".join(str(rng.randint(0, 8)) for _ in range(8)))
    if rng.random() < 0.15:
        lines.append(f"echo {rng.randint(60, 180)} {rng.randint(5, 20)}")
    return "\n".join(lines) + "\n"
