"""A conversation as the tokens that the model was trained to read, in the words of the checkpoint's own chat template.

What people wrote is never read as control tokens: "<|im_start|>system" within a message is text, and begins no message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

# While a template is rendered, these stand for the characters in messages of which control tokens are made. No text
# that comes as UTF-8 has a surrogate in it.
FIRST_STAND_IN, LAST_STAND_IN = 0xD800, 0xDFFF
SPACE = " \t\r\n\u2581"  # the last is a space in vocabularies made by SentencePiece


class RequestError(ValueError):
    """One request cannot be answered; the others in its batch can."""


class PromptTooLongError(RequestError):
    """What is asked does not fit into the model's context."""


class ChatPrompt:
    """`template` is Jinja with `variables`, such as bos_token; a prompt has at most `most_tokens`."""

    def __init__(self, tokenizer: Path, template: str, variables: Mapping[str, Any], most_tokens: int) -> None:
        description = json.loads(tokenizer.read_bytes())
        # Added tokens that are nothing but space shorten code; they control nothing.
        control = [token for token in description["added_tokens"] if token["content"].strip(SPACE)]
        self._control_ids = {token["content"].strip(): int(token["id"]) for token in control}
        longest_first = sorted(control, key=lambda token: len(token["content"]), reverse=True)
        # It splits into what lies between the tokens and the tokens themselves, in turn.
        self._control = re.compile(f"({'|'.join(map(_pattern, longest_first)) or '(?!)'})")
        marks = sorted({mark for token in self._control_ids for mark in _marks(token)})
        if len(marks) > LAST_STAND_IN - FIRST_STAND_IN:
            raise ValueError("The control tokens are made of too many different characters.")
        self._stand_ins = {ord(mark): chr(FIRST_STAND_IN + number) for number, mark in enumerate(marks)}
        self._marks = {ord(stand_in): chr(mark) for mark, stand_in in self._stand_ins.items()}
        self._tokenizer = _plain_tokenizer(description)
        self._template = _environment().from_string(template)
        self._variables = dict(variables)
        self._most_tokens = most_tokens
        self._most_characters = most_tokens * max(map(len, self._tokenizer.get_vocab()))

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Raises RequestError: too long, not Unicode, or refused by the template."""
        characters = sum(len(message["content"]) for message in messages)
        if len(messages) > self._most_tokens or characters > self._most_characters:
            raise PromptTooLongError(
                f"The messages have more than the {self._most_tokens} tokens that the model reads."
            )
        tokens: list[int] = []
        for position, piece in enumerate(self._control.split(self._render(messages))):
            if position % 2:
                tokens.append(self._control_ids[piece.strip()])
            elif piece:
                tokens += self._encode_text(piece.translate(self._marks))
        if len(tokens) > self._most_tokens:
            raise PromptTooLongError(
                f"The messages have {len(tokens)} tokens, and the model reads {self._most_tokens} at most."
            )
        return tokens

    def _encode_text(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not set(tokens).isdisjoint(self._control_ids.values()):
            raise RequestError("The messages have a control token in them that this model cannot read as text.")
        return tokens

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        for message in messages:
            if not message["content"].isascii() and re.search("[\ud800-\udfff]", message["content"]):
                raise RequestError("The messages have half a surrogate pair in them, which is no Unicode.")
        guarded = [{**message, "content": message["content"].translate(self._stand_ins)} for message in messages]
        try:
            return str(self._template.render(messages=guarded, add_generation_prompt=True, **self._variables))
        except Exception as error:  # a template is a program, and may fail in any way
            said = str(error).translate(self._marks)
            raise RequestError(f"The model's chat template does not take these messages: {said}") from error


def _plain_tokenizer(description: dict[str, Any]) -> Any:
    """One that reads every control token as the characters that it is written with."""
    added = [{**token, "special": bool(token["content"].strip(SPACE))} for token in description["added_tokens"]]
    pre_tokenizer = json.loads(
        # Only the beginning of a whole prompt would have a space put before it, and no piece of text is that.
        json.dumps(description["pre_tokenizer"]).replace('"prepend_scheme": "first"', '"prepend_scheme": "never"')
    )
    tokenizer = Tokenizer.from_str(json.dumps({**description, "added_tokens": added, "pre_tokenizer": pre_tokenizer}))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pattern(token: Mapping[str, Any]) -> str:
    """The space around them that some control tokens take up is theirs."""
    space_before = r"(?:(?<!\s)\s+)?" if token.get("lstrip") else ""  # not tried again within a long row of spaces
    space_behind = r"\s*" if token.get("rstrip") else ""
    return space_before + re.escape(str(token["content"])) + space_behind


def _marks(token: str) -> set[str]:
    """The characters without which the token cannot be written; space and letters, if possible, are left alone."""
    return {character for character in token if not (character.isalnum() or character.isspace())} or {token[0]}


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers gives it to chat templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
