"""From messages to tokens and from tokens to text, against transformers and tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from export_scripts.engines import load_engine
from tests.language_checkpoint import (
    CONTROL,
    END,
    START,
    TEMPLATE,
    TEXTS,
    byte_fallback_tokenizer,
    byte_level_tokenizer,
    user,
)

engines = load_engine("language_model")
TOKENIZERS = {"byte level": byte_level_tokenizer(), "byte fallback": byte_fallback_tokenizer()}
BYTES = frozenset(id_ for token, id_ in TOKENIZERS["byte fallback"].get_vocab().items() if token.startswith("<0x"))


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(data=st.data())
def test_pieces_of_text_add_up(kind: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[kind]
    common = {id_ for text in TEXTS for id_ in tokenizer.encode(text).ids}
    first_three = st.integers(0, 2)  # without a text, where bytes are a fallback
    ids = st.integers(0, tokenizer.get_vocab_size() - 1) | st.sampled_from(sorted(common)) | first_three
    tokens = data.draw(st.lists(ids) | st.text().map(lambda text: tokenizer.encode(text).ids))
    detokenizer = engines.Detokenizer(tokenizer, BYTES if kind == "byte fallback" else ())
    pieces = [detokenizer.push(token) for token in tokens]
    rest = detokenizer.rest()
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    assert "".join(pieces) + rest == whole
    if "\ufffd" not in whole:
        assert "\ufffd" not in "".join(pieces), "half a character was given out"
    if kind == "byte level" and not whole.endswith("\ufffd"):
        assert not rest, "whole characters were held back"


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZERS["byte level"].save(str(file))
    return file


@pytest.fixture(scope="module")
def chat_prompt(tokenizer_file: Path) -> Any:
    return engines.ChatPrompt(tokenizer_file, TEMPLATE, {}, 10_000)


def as_transformers(messages: list[dict[str, str]]) -> list[int]:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS["byte level"], chat_template=TEMPLATE)
    tokens: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return tokens


CONVERSATIONS = st.lists(
    st.fixed_dictionaries({
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": st.lists(st.text() | st.sampled_from([*CONTROL, *TEXTS, "<", "|im_end|>", "  \n"])).map("".join),
    }),
    min_size=1,
    max_size=4,
)  # fmt: skip
slow = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@slow
@given(messages=CONVERSATIONS)
def test_what_people_wrote_holds_no_control_token(chat_prompt: Any, messages: list[dict[str, str]]) -> None:
    tokenizer = TOKENIZERS["byte level"]
    tokens = chat_prompt.encode(messages)
    harmless = chat_prompt.encode([{**message, "content": "x"} for message in messages])
    assert control_tokens(tokens) == control_tokens(harmless)
    text = tokenizer.decode(tokens, skip_special_tokens=False)
    for message in messages:
        assert tokenizer.normalizer.normalize_str(message["content"]) in text
    if not any(token in message["content"] for token in CONTROL for message in messages):
        assert tokens == as_transformers(messages)


def control_tokens(tokens: list[int]) -> list[str]:
    return [token for token in map(TOKENIZERS["byte level"].id_to_token, tokens) if token in CONTROL]


def test_a_template_cannot_make_control_tokens_of_what_was_written(tokenizer_file: Path) -> None:
    """It may cut out and put together: here as those do that leave out what a model thought."""
    template = "{% for m in messages %}{{ m.content.split('</think>')|join|trim }}{% endfor %}" + END
    prompt = engines.ChatPrompt(tokenizer_file, template, {}, 1000)
    assert control_tokens(prompt.encode(user(f"  {START[:4]}</think>{START[4:]}"))) == [END]
    assert prompt.encode(user(" a ")) == prompt.encode(user("a"))
    for wrong, message in (("{{ raise_exception('no ' + messages[0].content) }}", "no <b>"), ("{{ 1 / 0 }}", "zero")):
        with pytest.raises(ValueError, match=message):
            engines.ChatPrompt(tokenizer_file, wrong, {}, 1000).encode(user("<b>"))
    with pytest.raises(ValueError, match="no Unicode"):
        prompt.encode(user("\ud800"))


def test_other_tokenizers_prompts_are_transformers_too(tmp_path: Path) -> None:
    """Words with their space before them; control tokens that take up the space around them; and one that is a word."""
    tokenizer = byte_fallback_tokenizer()
    tokenizer.add_special_tokens([AddedToken("[USER]", rstrip=True), AddedToken("[BOT]", lstrip=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    template = "<s>[USER] {{ messages[0].content }} [BOT]"
    prompt = engines.ChatPrompt(tmp_path / "tokenizer.json", template, {}, 1000)
    for content in (TEXTS[0], "  Größe 🎉  ", "\n", ""):
        assert prompt.encode(user(content)) == tokenizer.encode(f"<s>[USER] {content} [BOT]").ids
    assert prompt.encode(user("[BOT]")).count(tokenizer.token_to_id("[BOT]")) == 1
    words = Tokenizer(models.WordLevel({"</s>": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["</s>"])
    words.save(str(tmp_path / "tokenizer.json"))
    prompt = engines.ChatPrompt(tmp_path / "tokenizer.json", "{{ messages[0].content }}</s>", {}, 1000)
    assert prompt.encode(user("what")) == [1, 0]
    with pytest.raises(ValueError, match="cannot read as text"):
        prompt.encode(user("</s>"))
