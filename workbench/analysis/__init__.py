"""From records to estimates, tests, tables and a report."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, ["ranking", "report", "stats", "tables"])
