"""Studies on simulated learners, and the commands that run them. They need the extra `sweep`."""

from workbench.extras import require

require("sweep")
