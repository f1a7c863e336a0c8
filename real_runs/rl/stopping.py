"""A text at which completions end, whatever tokens it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Stop:
    """Looks for `text` in completions. may_end: (V,) bool, tokens with which a completion can come to hold it.

    A token may hold more than the end of the text ("\\n\\n"), or a part of a character only.
    """

    def __init__(self, tokenizer: Any, text: str, vocabulary: int) -> None:
        self.text, self._tokenizer = text, tokenizer
        # each behind itself: at the start of a text, some tokenizers drop the space of a token
        pieces = tokenizer.batch_decode([[token, token] for token in range(len(tokenizer))])
        may_end = [text[-1] in piece or "\N{REPLACEMENT CHARACTER}" in piece for piece in pieces]
        self.may_end: Tensor = torch.tensor(may_end + [False] * (vocabulary - len(may_end)))

    def ends(self, tokens: Sequence[int]) -> bool:
        """Whether the text of a completion holds the stop."""
        return self.text in self._tokenizer.decode(tokens, skip_special_tokens=True)

    def before(self, completion: str) -> str:
        """A completion up to the stop, which is left out."""
        return completion.split(self.text, 1)[0]
