"""A controller inside other people's trainers: a queue for hosts that pull one prompt at a time, and TRL.

`workbench.hosts.trl` is imported by its own name: it loads torch and TRL.
"""

from workbench.hosts.queue import Queue

__all__ = ["Queue"]
