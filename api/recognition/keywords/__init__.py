"""Keyword boosting: terms that may well be said, and how much that counts."""

from api.recognition.keywords.boosting import boosted
from api.recognition.keywords.terms import Keyword, hotwords, parse_keywords

__all__ = ["Keyword", "boosted", "hotwords", "parse_keywords"]
