"""Presidio's recognisers. Those of URLs and e-mail addresses are bounded in time, and none opens a connection."""

from __future__ import annotations

import json
from pathlib import Path

from presidio_analyzer import Pattern, RecognizerResult
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import EmailRecognizer, SpacyRecognizer, UrlRecognizer
from tldextract import TLDExtract
from vocabulary import primary, word_set

# tldextract would fetch the public suffix list; the snapshot in its package does.
SUFFIXES = TLDExtract(cache_dir=None, suffix_list_urls=())
# The last parts of some domains, and of more files.
FILE_ENDINGS = word_set("md py sh rs pl ps so cc zip mov do java")
LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
PATH = r"(?:/[^\s()<>\"']{0,2000})?"


class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
    def validate_result(self, pattern_text: str) -> bool:
        return bool(SUFFIXES(pattern_text).fqdn)


class LinearUrlRecognizer(UrlRecognizer):  # type: ignore[misc]
    """Presidio's own pattern tries a list of domains behind each of 253 characters; this one asks the suffix list."""

    def __init__(self) -> None:
        host = rf"(?:{LABEL}\.)+[^\W\d_]{{2,24}}(?![\w@-])"
        super().__init__(
            patterns=[
                Pattern("With scheme", r"\bhttps?://[^\s()<>\"']{1,2000}", 0.6),
                Pattern("Without scheme", rf"(?<![\w@./-]){host}(?::\d{{1,5}})?{PATH}", 0.5),
            ]
        )

    def validate_result(self, pattern_text: str) -> bool | None:
        """False for what is none; None leaves the score as it is."""
        if "://" in pattern_text[:8]:
            return None
        domain = SUFFIXES(pattern_text)
        if not domain.fqdn:
            return False
        bare = not domain.subdomain and "/" not in pattern_text
        # "We are done.So let us go": it is not the last part alone that has a capital.
        glued_sentence = domain.suffix[0].isupper() and domain.domain[-1].islower()
        return False if bare and (glued_sentence or domain.suffix in FILE_ENDINGS) else None


class NamedEntityRecognizer:
    """People, places and organisations, by a spaCy pipeline."""

    TYPES = ("PERSON", "LOCATION", "ORGANIZATION")

    def __init__(self, pipeline: Path) -> None:
        meta = json.loads((pipeline / "meta.json").read_text())
        self._language = str(meta["lang"])
        mapping = NerModelConfiguration().model_to_presidio_entity_mapping
        kinds = {label: mapping.get(label) for label in meta.get("labels", {}).get("ner", [])}
        self.types = [kind for kind in self.TYPES if kind in kinds.values()]
        ignored = [label for label, kind in kinds.items() if kind not in self.TYPES]
        self._engine = SpacyNlpEngine(
            [{"lang_code": self._language, "model_name": str(pipeline)}],
            NerModelConfiguration(labels_to_ignore=ignored),
        )
        self._engine.load()
        self._recognizer = SpacyRecognizer(self._language, self.types)

    def analyze(self, text: str, language: str) -> list[RecognizerResult]:
        """Nothing in a language that the pipeline is not for; "xx" is for all."""
        if self._language not in {primary(language), "xx"}:
            return []
        artifacts = self._engine.process_text(text, self._language)
        found: list[RecognizerResult] = self._recognizer.analyze(text, self.types, artifacts)
        return found
