"""A neutral workbench for curricula in reinforcement finetuning: sweep in simulation, check in a real loop."""

import lazy_loader as lazy

# Names and their modules are listed once, in __init__.pyi; each loads when first used.
__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
