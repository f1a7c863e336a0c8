"""How a problem becomes what a model reads: as plain text or as turns of a chat, with examples before it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from real_runs.tasks.forked import Gone, OutOfTime, in_fork
from workbench.errors import InputError, shown

Turn = dict[str, str]  # {"role": ..., "content": ...}
TEMPLATE = "{shots}{prompt}"
RENDERING_SECONDS, SECONDS_EACH = 10.0, 0.01  # for a chat template, and for each prompt
RENDERING_BYTES = 2**30  # beside what the process has
MOST_ADDED = 100_000  # characters that a chat template adds to a prompt's own


@dataclass(frozen=True)
class Prompting:
    """How a model is asked.

    shots: (prompt, answer) of each example. template: text with {prompt}, and {shots} where the examples go in plain
    text; all else in it is taken as it is written. system: text that comes first. chat: whether prompts are turns of a
    chat; None: where the tokenizer has a template for it. stop: text at which a completion ends, "": none.

    Plain: an example is its prompt, its answer and a line break. Where the template has no {shots}, examples come
    before it and go through it themselves. `system` and a blank line come first.
    Chat: an example is a user's and an assistant's turn before the user's turn; the template, without examples, makes
    each user's turn. `system` is a system's turn, except before a prompt that has one of its own.
    A prompt may be a chat itself (`turns_of`); its last turn then goes through the template. In plain text its turns
    are joined by blank lines.
    """

    shots: tuple[tuple[str, str], ...] = ()
    template: str = TEMPLATE
    system: str = ""
    chat: bool | None = None
    stop: str = ""

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise InputError(f"--template: must have {{prompt}} where the problem goes, got {shown(self.template)}")

    def is_chat(self, tokenizer: Any) -> bool:
        """Whether prompts are turns of a chat; InputError if they are to be and the tokenizer has no template."""
        there = bool(tokenizer.chat_template)
        if self.chat and not there:
            raise InputError(f"--chat: must be with a tokenizer that has a chat template, got {_name(tokenizer)}")
        return there if self.chat is None else self.chat

    def tokens(self, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as the model reads it."""
        chat = self.is_chat(tokenizer)
        texts = self._rendered(tokenizer, prompts) if chat else [self.plain(prompt) for prompt in prompts]
        ids: list[list[int]] = tokenizer(texts, add_special_tokens=not chat)["input_ids"]
        return ids

    def plain(self, prompt: str) -> str:
        """The plain text of a prompt: system, examples, problem."""
        if "{shots}" in self.template:
            shots = "".join(f"{_joined(shot)}{answer}\n" for shot, answer in self.shots)
            text = self._filled(_joined(prompt), shots)
        else:
            shots = "".join(f"{self._filled(_joined(shot))}{answer}\n" for shot, answer in self.shots)
            text = shots + self._filled(_joined(prompt))
        return f"{self.system}\n\n{text}" if self.system else text

    def turns(self, prompt: str) -> list[Turn]:
        """The turns of the chat that ends with a prompt."""
        own = self._asked(prompt)
        first = [own.pop(0)] if own[0]["role"] == "system" else []
        if self.system and not first:
            first = [{"role": "system", "content": self.system}]
        for shot, answer in self.shots:
            first += [turn for turn in self._asked(shot) if turn["role"] != "system"]
            first.append({"role": "assistant", "content": answer})
        return first + own

    def said(self, tokenizer: Any) -> str:
        """One line for the console: what is done with prompts, and why."""
        if self.is_chat(tokenizer):
            line = f"prompts are turns of a chat: {'--chat' if self.chat else 'the tokenizer has a template'}"
        else:
            line = f"prompts are plain text: {'the tokenizer has no chat template' if self.chat is None else '--plain'}"
        if count := len(self.shots):
            line += f"; {count} example{'s' if count > 1 else ''} before each"
        return line + (f"; a completion ends at {self.stop!r}" if self.stop else "")

    def as_json(self) -> dict[str, Any]:
        """All that a prompt depends on, as JSON values."""
        return asdict(self) | {"shots": [list(shot) for shot in self.shots]}

    def _asked(self, prompt: str) -> list[Turn]:
        """A prompt's own turns, the last one through the template."""
        *before, last = turns_of(prompt) or [{"role": "user", "content": prompt}]
        return [*before, last | {"content": self._filled(last["content"])}]

    def _filled(self, prompt: str, shots: str = "") -> str:
        """The template with its two places filled, in one pass: what is filled in is not looked at again."""
        values = {"{prompt}": prompt, "{shots}": shots}
        return re.sub(r"\{(?:prompt|shots)\}", lambda place: values[place[0]], self.template)

    def _rendered(self, tokenizer: Any, prompts: Sequence[str]) -> list[str]:
        """The turns of each prompt as the tokenizer's template writes them.

        The template is code of the tokenizer's authors: it runs in a fork of this process, with limits.
        """
        seconds = RENDERING_SECONDS + len(prompts) * SECONDS_EACH

        def render() -> list[str | list[str]]:
            texts: list[str | list[str]] = []
            for prompt in prompts:
                turns = self.turns(prompt)
                try:
                    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
                    if len(text) > sum(len(turn["content"]) for turn in turns) + MOST_ADDED:
                        raise ValueError(f"it adds more than {MOST_ADDED} characters")
                except Exception as error:  # some refuse a system's turn
                    reason = (str(error).strip() or type(error).__name__).split("\n")[0]
                    return [*texts, [shown(prompt), shown(reason)]]
                texts.append(text)
            return texts

        try:
            found = in_fork(render, seconds, RENDERING_BYTES)
        except (OutOfTime, Gone) as error:
            raise InputError(f"model: must have a chat template that writes {len(prompts)} prompts in {seconds:g} "
                             f"seconds, got {_name(tokenizer)}: {error}") from None  # fmt: skip
        if found and isinstance(found[-1], list):
            prompt, reason = found[-1]
            raise InputError(f"prompt: must have turns that the chat template takes, got {prompt} ({reason})")
        texts: list[str] = found
        return texts


AS_IT_IS = Prompting()


def turns_of(prompt: str) -> list[Turn] | None:
    """The turns of a prompt that is a chat: a JSON list of objects with texts "role" and "content"; otherwise None."""
    if not prompt.lstrip().startswith("["):
        return None
    try:
        found = json.loads(prompt)
    except (ValueError, RecursionError):
        return None
    return checked_turns(found)


def checked_turns(found: Any) -> list[Turn] | None:
    """Messages by role and content; None for what is no list of them. Other fields of a message are left out."""
    if not isinstance(found, Sequence) or isinstance(found, str) or not len(found):
        return None
    if not all(isinstance(m, Mapping) and all(isinstance(m.get(x), str) for x in ("role", "content")) for m in found):
        return None
    return [{"role": message["role"], "content": message["content"]} for message in found]


def _joined(prompt: str) -> str:
    """A prompt as plain text: the turns of a chat joined by blank lines."""
    turns = turns_of(prompt)
    return prompt if turns is None else "\n\n".join(turn["content"] for turn in turns)


def _name(tokenizer: Any) -> str:
    return f"that of '{tokenizer.name_or_path}'"
