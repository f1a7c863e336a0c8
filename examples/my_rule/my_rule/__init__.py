"""A curriculum rule, a learner law and a task outside the workbench."""
