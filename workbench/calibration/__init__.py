"""From the log of a run to learners with uncertainty, and to advice on a curriculum."""
