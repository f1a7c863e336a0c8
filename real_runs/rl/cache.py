"""Key-value caches for a batch whose members end at different times."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

FIRST = 64  # columns for completions at first; when they are full, the buffers double


def keyword(model: Any) -> str:
    """What a model's forward calls its cache: `cache` since transformers 5.24, `past_key_values` before."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # adapters hide its arguments
    return "cache" if "cache" in inspect.signature(type(inner).forward).parameters else "past_key_values"


def for_prompts(config: Any) -> DynamicCache:
    """An empty cache. Windows keep all their columns, as `Slots` does: the mask hides the columns outside a window."""
    own = DynamicCache(config=config)
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in own.layers)
    return DynamicCache() if plain else own


def for_decode(prompts: DynamicCache, count: int, width: int, group: int, limit: int, fixed: bool) -> Slots | Grown:
    """The cache of `count` prompts, `width` columns wide, for `group` completions of each of up to `limit` tokens.

    Grown where layers hold more than keys and values (recurrent states, indexed or compressed keys): transformers has
    no other way to write those.
    """
    if all(type(layer) is DynamicLayer for layer in prompts.layers):
        return Slots(prompts, count, width, group, limit, fixed)
    return Grown(prompts, count, width, group)


def closed_up(going: Tensor) -> Tensor:
    """An order for `keep` of the slots where going (n,) is true: the last of them move into the gaps of the others."""
    left = int(going.sum())
    order = torch.arange(left, device=going.device)
    order[~going[:left]] = going[left:].nonzero()[:, 0] + left
    return order


class Slots(Cache):
    """Keys and values in each layer (slots, heads, capacity, width), a column per token, written in place.

    The first n slots are in use. column: (1,) where a token was written last. fixed: attention is given all columns,
    those to come masked, so that no shape depends on how many are filled. Under autocast in its type, to which
    attention would convert them again for every token.
    """

    def __init__(self, prompts: DynamicCache, count: int, width: int, group: int, limit: int, fixed: bool) -> None:
        self.filled, self.most, self.fixed = width, width + limit, fixed
        self.capacity = width + min(limit, FIRST)
        self.n = count * group
        super().__init__(layers=[_Layer(self, layer) for layer in prompts.layers])
        self.column = torch.tensor([width - 1], device=self.layers[0].keys.device)

    @property
    def shown(self) -> int:
        """Columns that attention is given."""
        return self.capacity if self.fixed else self.filled

    def open_column(self) -> None:
        """Make room for one more token, between two steps."""
        if self.filled == self.capacity:
            self.capacity = min(2 * self.capacity, self.most)
            for layer in self.layers:
                layer.keys, layer.values = (_copied(x[: self.n], self) for x in (layer.keys, layer.values))
        self.filled += 1

    def advance(self) -> None:
        """The same on the device, as a part of the step."""
        self.column += 1

    def keep(self, order: Tensor) -> None:
        """Slot i takes what is in slot order[i]: i itself, or one from len(order) on. See `closed_up`."""
        (moved,) = (order != torch.arange(len(order), device=order.device)).nonzero(as_tuple=True)
        self.n = len(order)
        for layer in self.layers:
            for buffer in (layer.keys, layer.values):
                buffer[moved, :, : self.filled] = buffer[order[moved], :, : self.filled]


class _Layer(DynamicLayer):
    def __init__(self, slots: Slots, prompts: DynamicLayer) -> None:
        super().__init__()
        self.slots, self.is_initialized = slots, True
        kind = prompts.keys.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else prompts.keys.dtype
        self.keys, self.values = (_copied(x.to(dtype), slots) for x in (prompts.keys, prompts.values))

    @property
    def is_compileable(self) -> bool:
        return self.slots.fixed  # transformers then makes the mask without a look at its values

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        n, shown = self.slots.n, self.slots.shown
        for buffer, new in ((self.keys, keys), (self.values, values)):
            buffer[:n].index_copy_(2, self.slots.column, new.to(buffer.dtype))
        return self.keys[:n, :, :shown], self.values[:n, :, :shown]

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        return self.slots.shown, 0

    def get_seq_length(self) -> int | Tensor:
        return self.slots.column[0] if self.slots.fixed else self.slots.filled - 1


def _copied(x: Tensor, slots: Slots) -> Tensor:
    """x in all columns and slots, each of it several times side by side if the slots are more.

    Columns that are shown before they are written are 0: they have weight 0 in attention, and 0 times NaN is NaN.
    """
    out = x.new_empty(slots.n, x.shape[1], slots.capacity, x.shape[3])
    out.unflatten(0, (len(x), -1))[:, :, :, : x.shape[2]] = x[:, None]
    if slots.fixed:
        out[:, :, x.shape[2] :] = 0.0
    return out


class Grown(DynamicCache):
    """transformers' own layers, which are copied whenever a token comes or a sequence goes."""

    fixed = False

    def __init__(self, prompts: DynamicCache, count: int, width: int, group: int) -> None:
        Cache.__init__(self, layers=prompts.layers)
        self.shown = width
        self.keep(torch.arange(count).repeat_interleave(group))

    def open_column(self) -> None:
        self.shown += 1

    def advance(self) -> None: ...

    def keep(self, order: Tensor) -> None:
        self.reorder_cache(order)
