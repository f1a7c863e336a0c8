"""What a study runs, without running it: arms from lists of settings, their names, folders and commands."""

import argparse
from pathlib import Path

import pytest

from real_runs import train
from real_runs.comparison.cells import add_study_options, make_cells
from real_runs.runs.run import OPTIONS
from workbench.errors import InputError

OUT = Path("study")


def cells_of(*words):
    parser = argparse.ArgumentParser()
    add_study_options(parser)
    return make_cells(parser.parse_args(["--pools", "p.csv", "--seeds", "1", *words]), OUT)


def arms_of(*words):
    """(learner, controller, folder below the pool's) of each arm."""
    return [(cell.learner, cell.controller, cell.folder.parent.name) for cell in cells_of(*words)]


def test_a_plain_study_has_the_names_and_folders_of_earlier_versions():
    pools = ["--pools", "a/p.csv,skew-easy"]
    cells = cells_of("--controllers", "uniform,adarft+dapo", "--seeds", "2", *pools, "--lr", "1e-3")
    assert [str(cell.folder) for cell in cells[:4]] == [
        "study/runs/p/uniform/seed-0", "study/runs/p/adarft+dapo/seed-0", "study/runs/skew-easy/uniform/seed-0",
        "study/runs/skew-easy/adarft+dapo/seed-0",
    ]  # fmt: skip
    assert {cell.learner for cell in cells} == {"reverse"}
    run = cells[0].run
    assert (run.budget, run.save_every, run.threads, run.settings) == ("rollouts", 20, 1, ())


def test_values_of_a_setting_are_arms_of_those_that_have_the_part():
    settings = ["--set", "adarft.eta=5,10", "--set", "dapo.max_batches=3"]
    assert arms_of("--controllers", "adarft,adarft+dapo,filter", *settings) == [
        ("reverse", "uniform", "uniform"),
        ("reverse", "adarft eta=5", "adarft_eta=5"),
        ("reverse", "adarft eta=10", "adarft_eta=10"),
        ("reverse", "adarft+dapo adarft.eta=5 dapo.max_batches=3", "adarft+dapo_adarft.eta=5_dapo.max_batches=3"),
        ("reverse", "adarft+dapo adarft.eta=10 dapo.max_batches=3", "adarft+dapo_adarft.eta=10_dapo.max_batches=3"),
        ("reverse", "filter", "filter"),
    ]  # fmt: skip


def test_an_arm_may_bring_its_own_settings_beside_the_rule_without_them():
    arms = "adarft,adarft eta=5,adarft+dapo dapo.max_batches=3"
    assert arms_of("--controllers", arms, "--set", "adarft.beta=0.4") == [
        ("reverse", "uniform", "uniform"),
        ("reverse", "adarft beta=0.4", "adarft_beta=0.4"),
        ("reverse", "adarft eta=5 beta=0.4", "adarft_eta=5_beta=0.4"),
        ("reverse", "adarft+dapo dapo.max_batches=3 adarft.beta=0.4", "adarft+dapo_dapo.max_batches=3_adarft.beta=0.4"),
    ]  # fmt: skip
    assert [arm for _, arm, _ in arms_of("--controllers", "adarft eta=5", "--set", "adarft.eta=10,20")] == [
        "uniform", "adarft eta=5",
    ]  # fmt: skip
    for wrong in ("adarft eta", "adarft eta=5 adarft.eta=6"):
        with pytest.raises(InputError) as refused:
            arms_of("--controllers", wrong)
        assert str(refused.value) == f"--controllers: must be NAME setting=value, each setting once, got '{wrong}'"


def test_the_baseline_stays_without_settings():
    assert [controller for _, controller, _ in arms_of("--controllers", "uniform", "--set", "uniform.floor=0.1")] == [
        "uniform", "uniform floor=0.1",
    ]  # fmt: skip


def test_algorithms_their_settings_and_learning_rates_are_crossed_and_named_by_what_differs():
    grid = ["--algorithm", "grpo,reinforce++", "--lr", "1e-5,3e-05", "--set", "grpo.kl_coef=0,0.001"]
    found = arms_of("--controllers", "uniform", *grid)
    assert found == [
        (f"reverse {algorithm} lr={rate}", "uniform", f"uniform_{algorithm.replace(' ', '_')}_lr={rate}")
        for algorithm in ("grpo kl_coef=0", "grpo kl_coef=0.001", "reinforce++")
        for rate in ("1e-05", "3e-05")
    ]
    one = arms_of("--controllers", "uniform", "--algorithm", "rloo", "--set", "rloo.kl_coef=0")
    assert one == [("reverse", "uniform", "uniform")]


def test_seeds_begin_where_they_are_told_to():
    assert [cell.run.seed for cell in cells_of("--controllers", "uniform", "--seeds", "3", "--first-seed", "100")] == [
        100, 101, 102,
    ]  # fmt: skip


def test_every_option_of_a_run_is_one_of_a_study():
    """A run of a study is the run that its command line says, whatever the options."""
    values = {int: "3", float: "0.5"}
    words = [
        word
        for name, option in OPTIONS.items()
        if name not in ("pool", "controller", "seed", "threads", "task", "algorithm", "budget", "updates", "plain")
        for word in (
            [f"--{name.replace('_', '-')}"] if isinstance(option.default, bool)
            else [f"--{name.replace('_', '-')}", values.get(type(option.default), option.default)]
        )
    ]  # fmt: skip
    settings = ["--set", "adarft.eta=5", "--set", "ppo.clip=0.1"]
    cells = cells_of(*words, "--budget", "tokens:500", "--controllers", "adarft", *settings)
    for cell in cells:
        run, options = train.parse(cell.command()[2:])
        assert run == cell.run
        assert options.out == str(cell.folder)
    assert cells[1].run.settings == (("adarft.eta", 5.0), ("ppo.clip", 0.1))
    assert (cells[1].run.lr, cells[1].run.batch, cells[1].run.lora) == (0.5, 3, 3)


@pytest.mark.parametrize("seed", ["x", "-1"])
def test_a_first_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match=r"--first-seed: must be a whole number in \[0, 9223372036854775808\]"):
        cells_of("--first-seed", seed)
