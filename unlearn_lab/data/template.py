"""Turns a question into a prompt, by the tokenizer's chat template or as plain text."""

from collections.abc import Sequence
from typing import Any, cast

from jinja2 import TemplateError

from unlearn_lab.data.corpus import Question, Template, plain_texts
from unlearn_lab.data.tokenise import bos, text_ids
from unlearn_lab.data.typed import PreTrainedTokenizerBase


def is_chat(template: Template, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether questions go through the tokenizer's chat template."""
    if template.kind == "auto":
        return tokenizer.chat_template is not None
    return template.kind == "chat"


def question_ids(
    question: str,
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Question] = (),
) -> list[int]:
    """Returns the tokens of a prompt, up to where the answer begins; with BOS if there is one.

    Plain: "Question: ...", a line break and "Answer:"; the answer follows after a blank, as in
    MUSE's examples. In a chat, the question is the user's turn after the system prompt and, for
    each example, a turn of the user and one of the assistant; the date is `template.date`, whatever
    today is.

    Args:
        question: the question.
        template: how it becomes a prompt.
        tokenizer: the model's tokenizer.
        examples: few-shot examples.

    Raises:
        ValueError: there is no chat template, it cannot be applied, or it ends a turn with another
            token than EOS.
    """
    if not is_chat(template, tokenizer):
        prompt = text_ids([few_shot_prompt(question, examples, "Answer:")], tokenizer)[0]
        return [*bos(tokenizer), *prompt]
    if tokenizer.chat_template is None:
        raise ValueError(
            "dataset.template=chat: the tokenizer has no chat template; use dataset.template=plain"
        )
    return _chat_ids(question, examples, template, tokenizer)


def few_shot_prompt(question: str, examples: Sequence[Question], answer_cue: str) -> str:
    """Returns a plain prompt: examples separated by blank lines, then the question.

    Args:
        question: the question to answer.
        examples: few-shot examples, may be empty.
        answer_cue: end of the prompt.
    """
    shown = "".join(f"{text}\n\n" for text in plain_texts(examples))
    return f"{shown}Question: {question}\n{answer_cue}"


def answer_ids(
    question: str, answer: str, template: Template, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Returns the tokens of an answer, and EOS if the tokenizer has one.

    Plain: as they are in the text of question and answer; a tokenizer that puts a blank before
    every text would otherwise put a second one before the answer.

    Args:
        question: the question.
        answer: the answer.
        template: how the question became a prompt.
        tokenizer: the model's tokenizer.
    """
    last = cast("int | None", tokenizer.eos_token_id)
    end = [] if last is None else [last]
    if is_chat(template, tokenizer):
        return [*text_ids([answer], tokenizer)[0], *end]
    plain = few_shot_prompt(question, (), "Answer:")
    texts = [plain, f"{plain} {answer}", f" {answer}"]
    prompt, whole, alone = text_ids(texts, tokenizer)
    joined = whole[: len(prompt)] == prompt
    return [*(whole[len(prompt) :] if joined else alone), *end]


def _chat_ids(
    question: str,
    examples: Sequence[Question],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
) -> list[int]:
    turns = [
        *(turn for one in examples for turn in (_user(one.question), _assistant(one.answer))),
        _user(question),
    ]
    for special in tokenizer.all_special_tokens:
        for text in (turn["content"] for turn in turns):
            if special in text:
                raise ValueError(
                    f"{text[:40]!r} contains {special!r}, which a chat template would turn into a "
                    "special token; remove it, or use dataset.template=plain"
                )
    if template.system is not None:
        turns = [{"role": "system", "content": template.system}, *turns]
    prompt = _render(turns, template, tokenizer, ask=True)
    _require_end(turns, prompt, template, tokenizer)
    # special tokens of the template are parsed; BOS is one of them
    ids: Sequence[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return list(ids)


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _require_end(
    turns: list[dict[str, str]],
    prompt: str,
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Raises `ValueError` unless an answer stands between the prompt and EOS."""
    answer = "An answer."
    whole = _render([*turns, _assistant(answer)], template, tokenizer, ask=False)
    if tokenizer.eos_token is None or not whole.startswith(
        f"{prompt}{answer}{tokenizer.eos_token}"
    ):
        raise ValueError(
            f"dataset.template={template.kind}: after an answer, the chat template continues with "
            f"{whole.removeprefix(prompt)[:40]!r}, not with {answer!r} and the tokenizer's EOS; "
            "use dataset.template=plain"
        )


def _render(
    turns: list[dict[str, str]],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    ask: bool,
) -> str:
    try:
        text = cast("Any", tokenizer).apply_chat_template(
            turns, tokenize=False, add_generation_prompt=ask, date_string=template.date
        )
    except TemplateError as error:
        raise ValueError(
            f"dataset.template={template.kind}: the chat template cannot be applied ({error}); "
            "set dataset.system_prompt=null, or use dataset.template=plain"
        ) from error
    return str(text)
