"""Difficulty of items from pass counts, from ratings, and from an item-response matrix."""

import lazy_loader as lazy

# Names and their modules are listed once, in __init__.pyi; each loads when first used.
__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
