"""Real finetuning: the workbench's Controller and train() with a language model as the learner."""
