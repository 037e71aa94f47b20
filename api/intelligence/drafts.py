"""What a language model wrote as JSON, made into structs as far as it can be. What does not fit into a list is left out
of it, and what is too long is cut; only what is missing altogether makes the whole Unusable."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Final, NoReturn, Union, get_args, get_origin

import msgspec

from api.intelligence.results import (
    BlogPost,
    Flashcard,
    Flashcards,
    Newsletter,
    Post,
    Quiz,
    QuizQuestion,
    Section,
    SocialMedia,
    StudyGuide,
    Term,
)
from api.intelligence.safety import cut

MOST_ITEMS: Final = 30
LONGEST_STRING_CHARS: Final = 3000
LONGEST_TITLE_CHARS: Final = 200
TITLES: Final = frozenset({"title", "heading", "subject", "term", "topic"})
POST_CHARS: Final = {"x": 280, "mastodon": 500, "linkedin": 3000}
MOST_HASHTAGS: Final = 3
LONGEST_HASHTAG_CHARS: Final = 50
FEWEST_OPTIONS: Final = 2
MOST_OPTIONS: Final = 6
MOST_BEGINNINGS: Final = 100
"""Of a JSON value, that are tried: each is read to its end."""

Clean = Callable[[str], str]


class Unusable(ValueError):
    """The message is fit for the model that wrote it."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Not strict: small models break lines within strings.
DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_no_constant)
BEGINNING: Final = re.compile(r"[\[{]")


def read(text: str) -> Any:
    """The longest JSON object or list in the text, whatever stands around it."""
    value, longest, place = None, 0, 0
    for _ in range(MOST_BEGINNINGS):
        begins = BEGINNING.search(text, place)
        if begins is None:
            break
        try:
            found, place = DECODER.raw_decode(text, begins.start())
        except (ValueError, RecursionError):
            place = begins.end()
            continue
        if place - begins.start() > longest:
            value, longest = found, place - begins.start()
    if not longest:
        raise Unusable("it is not whole JSON")
    return value


def fit(value: Any, kind: Any, clean: Clean) -> Any:
    """Out of JSON, as a struct or what may be in one. Raises Unusable."""
    if kind is Any:
        return value
    if kind is str:
        return _string(value, clean)
    if kind is int and isinstance(value, str) and (number := NUMBER.fullmatch(value.strip())):
        return int(number[1])
    if get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
        return None if value in (None, "", "null") else fit(value, get_args(kind)[0], clean)
    if get_origin(kind) is list:
        return _list(value, get_args(kind)[0], clean)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(value, kind, clean)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Unusable(str(error)) from error


NUMBER: Final = re.compile(r"\[?(\d{1,6})\]?")


def _string(value: Any, clean: Clean) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unusable("where there should be a text is none")
    return cut(clean(str(value)), LONGEST_STRING_CHARS)


def _list(value: Any, kind: Any, clean: Clean) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable("where there should be a list is none")
    items, problem = [], None
    for item in value[:MOST_ITEMS]:
        try:
            items.append(fit(item, kind, clean))
        except Unusable as error:
            problem = error
    if problem is not None and not items:
        raise problem
    return [item for item in items if item != ""]


def _struct(value: Any, kind: type[msgspec.Struct], clean: Clean) -> Any:
    fields = msgspec.structs.fields(kind)
    if isinstance(value, list) and len(fields) == 1:
        value = {fields[0].name: value}  # its only list without its name
    if not isinstance(value, dict):
        raise Unusable("where there should be an object is none")
    value = PREPARE.get(kind, dict)(value)
    arguments = {}
    for field in fields:
        given = value.get(field.encode_name)
        if given is None:
            if field.required:
                raise Unusable(f'"{field.name}" is missing')
            continue
        fitted = fit(given, field.type, clean)
        arguments[field.name] = cut(" ".join(fitted.split()), LONGEST_TITLE_CHARS) if field.name in TITLES else fitted
    return CHECKS.get(kind, _as_it_is)(kind(**arguments))


def _as_it_is(content: Any) -> Any:
    return content


def _whole(*names: str) -> Callable[[Any], Any]:
    """None of these may be empty."""

    def check(content: Any) -> Any:
        for name in names:
            if not getattr(content, name):
                raise Unusable(f'there is nothing of use in "{name}"')
        return content

    return check


def _prepared_question(value: dict[str, Any]) -> dict[str, Any]:
    """The right answer's place, where it is given in words."""
    options, answer = value.get("options"), value.get("answer")
    if not isinstance(options, list) or not all(isinstance(option, str | int | float) for option in options):
        raise Unusable('"options" is not a list of texts')
    if isinstance(answer, str):
        same = [place for place, option in enumerate(options) if _plain(str(option)) == _plain(answer)]
        if not same:
            raise Unusable('"answer" is none of the options')
        value = {**value, "answer": same[0]}
    return value


def _checked_question(question: QuizQuestion) -> QuizQuestion:
    different = len({_plain(option) for option in question.options}) == len(question.options)
    if not (FEWEST_OPTIONS <= len(question.options) <= MOST_OPTIONS and different and question.question):
        raise Unusable(f'"options" are not {FEWEST_OPTIONS} to {MOST_OPTIONS} different ones')
    if not 0 <= question.answer < len(question.options):
        raise Unusable('"answer" is none of the options')
    return question


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _prepared_post(value: dict[str, Any]) -> dict[str, Any]:
    platform = str(value.get("platform")).casefold().strip()
    return {"hashtags": [], **value, "platform": "x" if platform == "twitter" else platform}


def _checked_post(post: Post) -> Any:
    """Within what the platform allows; its hashtags end the text, unless they are in it."""
    words = (re.sub(r"\W", "", hashtag) for hashtag in post.hashtags)
    hashtags = list(dict.fromkeys(f"#{word}" for word in words if 0 < len(word) <= LONGEST_HASHTAG_CHARS))[
        :MOST_HASHTAGS
    ]
    ending = " ".join(tag for tag in hashtags if tag.casefold() not in post.text.casefold())
    text = cut(post.text, POST_CHARS[post.platform] - len(f"\n\n{ending}"))
    return _whole("text")(Post(post.platform, f"{text}\n\n{ending}" if text and ending else text, hashtags))


def _checked_posts(media: SocialMedia) -> Any:
    """One for each platform, the first."""
    by_platform = {post.platform: post for post in reversed(media.posts)}
    return _whole("posts")(SocialMedia(list(reversed(by_platform.values()))))


class EpisodeHead(msgspec.Struct):
    title: str
    description: str
    topics: list[str]


class MinutesHead(msgspec.Struct):
    title: str
    summary: str
    topics: list[str]


class ChapterHead(msgspec.Struct):
    title: str
    summary: str


PREPARE: Final[Mapping[type, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    QuizQuestion: _prepared_question,
    Post: _prepared_post,
}
CHECKS: Final[Mapping[type, Callable[[Any], Any]]] = {
    EpisodeHead: _whole("title", "description"),
    MinutesHead: _whole("title", "summary"),
    ChapterHead: _whole("title", "summary"),
    Section: _whole("heading", "paragraphs"),
    BlogPost: _whole("title", "sections"),
    Newsletter: _whole("subject", "items"),
    Post: _checked_post,
    SocialMedia: _checked_posts,
    Term: _whole("term", "explanation"),
    StudyGuide: _whole("title", "key_points"),
    Flashcard: _whole("front", "back"),
    Flashcards: _whole("flashcards"),
    QuizQuestion: _checked_question,
    Quiz: _whole("questions"),
}
