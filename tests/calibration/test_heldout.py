"""Evaluations of held-out items in a log: kept out, or evidence of which nothing is learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
from commands import call
from scipy.special import expit, logit

import workbench as wb
from sims import advise
from sims.sbc import ITEMS, POOL, UPDATES, rank, space_of
from workbench.calibration.calibrate import LEARNERS, Task, calibrate, chosen
from workbench.calibration.heldout import looks_of
from workbench.calibration.log import Log
from workbench.calibration.replay import SATURATED, Replay, difficulty_of, logits
from workbench.errors import InputError
from workbench.learners import SimLearner

H, EVERY, ATTEMPTS, BATCH = 12, 3, 4, 6
HELDOUT = wb.Pool(np.linspace(8.0, 92.0, H), ids=[f"h{i}" for i in range(H)])
NAMED = wb.Pool(POOL.difficulty, ids=[f"q{i}" for i in range(ITEMS)])
B = np.append(difficulty_of(NAMED), difficulty_of(HELDOUT))


def simulated(name, count, seed):
    """(count, P) points drawn from the prior, and a log of each with all held-out items tried every EVERY updates."""
    space, rng = space_of(name), np.random.default_rng(seed)
    points = space.points(rng.standard_normal((count, len(space.priors))))
    law = space.law_at(points)
    given = space.observation(points, law)
    learner = SimLearner(law, wb.Pool(np.full(len(B), 50.0)), lanes=count, b=B)
    low, high, alpha = given.floor[:, None], given.ceiling[:, None], (1 / given.rho - 1)[:, None]
    u = given.spread[:, None] * rng.standard_normal((count, len(B)))

    def tried(items):
        share = (learner.success(items).astype(float) - low) / (high - low)
        z = logit(np.clip(share, SATURATED, 1 - SATURATED)) + np.take_along_axis(u, items, axis=1)
        p = low + (high - low) * expit(z)
        return rng.binomial(ATTEMPTS, rng.beta(np.maximum(alpha * p, 1e-9), np.maximum(alpha * (1 - p), 1e-9)))

    rows, looks = [[] for _ in range(count)], [[] for _ in range(count)]
    held = np.tile(ITEMS + np.arange(H), (count, 1))
    for step in range(UPDATES + 1):
        if step % EVERY == 0:
            for r, k in enumerate(tried(held)):
                looks[r] += [(step, f"h{i}", int(of), ATTEMPTS) for i, of in enumerate(k)]
        if step < UPDATES:
            items = rng.random((count, ITEMS)).argsort(axis=1)[:, :BATCH]
            k = tried(items)
            learner.learn(items, (np.arange(ATTEMPTS) < k[..., None]).astype(np.float32))
            for r in range(count):
                rows[r] += [(step + 1, f"q{i}", int(of), ATTEMPTS) for i, of in zip(items[r], k[r], strict=True)]
            u += given.drift[:, None] * rng.standard_normal(u.shape)
    return points, [log_of(mine, of) for mine, of in zip(rows, looks, strict=True)]


def log_of(rows, looks):
    step, item, k, n = zip(*rows, *looks, strict=True)
    return Log(step, item, k, n, heldout=[False] * len(rows) + [True] * len(looks))


def joined(log):
    return log.on(NAMED)


def task_of(name, log, looks, enough=60.0, seed=0):
    return Task(name, space_of(name), log, NAMED, difficulty_of(NAMED), 2 * UPDATES // 3, seed, enough, looks=looks)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("categories", [False, True])
def test_held_out_items_change_nothing_for_the_items_of_the_pool(name, categories):
    _, (log,) = simulated("scalar", 1, 1)
    of = {"category": np.arange(ITEMS) % 3} if categories else {}
    more = {"category": np.arange(H) % 4} if categories else {}
    pool = wb.Pool(NAMED.difficulty, ids=NAMED.ids, **of)
    looks, told = looks_of(log.on(pool), pool, wb.Pool(HELDOUT.difficulty, ids=HELDOUT.ids, **more))
    assert told == []
    law = replace(chosen([name])[name], redundancy=0.5)
    alone = Replay(log.on(pool), pool, difficulty_of(pool)).zeta(law, 1)
    both = Replay(log.on(pool), looks.pool, looks.b, looks.counts, len(pool)).zeta(law, 1)
    assert both.shape == (1, len(log) + len(log.evaluations))
    np.testing.assert_allclose(both[:, : len(log)], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["scalar", "tabular"])
def test_chances_of_held_out_items_are_those_after_the_updates_before(name):
    """A learner stepped by hand; an update is missing and counts twice, and the second run is its own."""
    rows = [(s, f"q{i}", 2, 4) for s in (1, 2, 4, 5) for i in (s, s + 10)]
    log = joined(log_of(rows, [(s, "h3", 1, 4) for s in (0, 1, 3, 5)]))
    looks, _ = looks_of(log, NAMED, HELDOUT)
    law = chosen([name])[name]
    found = Replay(log, looks.pool, looks.b, looks.counts).zeta(law, 1)[0, len(log) :]
    learner, wanted = SimLearner(law, looks.pool, lanes=1, b=looks.b), []
    for step in range(1, 7):
        if step - 1 in (0, 1, 3, 5):
            wanted.append(logits(learner, np.array([[ITEMS]]))[0, 0])
        s = 2 if step == 3 else step
        if step < 6:
            learner.learn(np.array([[s, s + 10]]), np.array([[[1, 1, 0, 0]] * 2], np.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (np.ptp(wanted) > 0.01) == (name == "scalar")


def test_evaluations_narrow_the_posterior():
    """Of skill and its gain, over logs of a scalar learner."""
    _, logs = simulated("scalar", 4, 2)
    shares = []
    for number, log in enumerate(map(joined, logs)):
        looks, _ = looks_of(log, NAMED, HELDOUT)
        without, with_them = (task_of("scalar", log, of, seed=number).fit().narrowing for of in (None, looks))
        shares.append([with_them[name] / without[name] for name in ("theta0", "kappa")])
    assert np.exp(np.log(shares).mean(axis=0)) == pytest.approx([0.8, 0.8], abs=0.2)
    assert (np.mean(shares, axis=0) < 1).all()


def test_evaluations_tell_a_shared_skill_from_one_of_each_item():
    """Under tabular, items that are not trained on gain nothing."""
    law = wb.ScalarIRT(theta0=-1.0, kappa=0.15, label_noise=0.0)
    learner, rng = SimLearner(law, wb.Pool(np.full(len(B), 50.0)), b=B), np.random.default_rng(4)
    rows, looks = [], []
    for step in range(1, 19):
        items = rng.choice(ITEMS, 4, replace=False)
        rewards = learner.attempt(items, 8)
        learner.learn(items, rewards)
        rows += [(step, f"q{i}", int(k), 8) for i, k in zip(items, rewards.sum(axis=1), strict=True)]
        k = rng.binomial(8, learner.success(ITEMS + np.arange(H)))
        looks += [(step, f"h{i}", int(of), 8) for i, of in enumerate(k)]
    log, settings = log_of(rows, looks), {"learners": ["scalar", "tabular"], "enough": 20.0, "progress": False}
    kept_out, used = calibrate(log, NAMED, **settings), calibrate(log, NAMED, heldout=HELDOUT, **settings)
    assert used.weights["scalar"] > max(0.9, kept_out.weights["scalar"])
    behind = [fit.table.set_index("learner").loc["tabular", "behind"] for fit in (kept_out, used)]
    assert behind[1] > behind[0] + 5
    assert used.looks == H * 7  # after 12 to 18 updates
    assert used.unknown == [line for line in used.unknown if "evaluations" not in line]
    assert any(line.startswith("The log's 216 evaluations say nothing here: the difficulties") for line in
               kept_out.unknown)  # fmt: skip


def test_ranks_of_parameters_drawn_from_the_prior_are_uniform_with_evaluations():
    """Simulation-based calibration, loosely: 16 tiny logs."""
    points, logs = simulated("scalar", 16, 5)
    ranks = []
    for number, log in enumerate(map(joined, logs)):
        looks, _ = looks_of(log, NAMED, HELDOUT)
        ranks.append(rank(points[number], task_of("scalar", log, looks, seed=number).fit().points))
    ranks = np.array(ranks)
    apart = (ranks.mean(axis=0) - 9.5) / np.sqrt((20**2 - 1) / 12 / len(ranks))
    assert np.abs(apart).max() < 3.5
    assert (ranks.std(axis=0) > 3.4).all()
    assert (ranks.std(axis=0) < 8.2).all()


def test_the_key_of_a_fit_has_its_evaluations():
    _, (log, other) = simulated("scalar", 2, 3)
    looks, others = (looks_of(joined(of), NAMED, HELDOUT)[0] for of in (log, other))
    keys = {task_of("scalar", joined(log), of).key for of in (None, looks, others, looks._replace(b=looks.b + 1))}
    assert len(keys) == 4


def test_evaluations_of_items_that_were_trained_on_are_not_used_and_said():
    looks = [(3, "q3", 1, 4), (3, "h1", 1, 4), (6, "q3", 1, 4)]
    log = joined(log_of([(s, f"q{s}", 2, 4) for s in range(1, 12)], looks))
    both = wb.Pool([20.0, 30.0], ids=["q3", "h1"])
    looks, told = looks_of(log, NAMED, both)
    assert told == ["2 evaluations of items that were trained on, too, are not used."]
    assert looks.counts.step.tolist() == [4]
    only = replace(log.evaluations, item=np.zeros(3, np.int64))
    log.__dict__["evaluations"] = only
    assert looks_of(log, NAMED, both) == (None, ["3 evaluations of items that were trained on, too, are not used."])


@pytest.mark.parametrize(("pool", "heldout", "said"), [
    (NAMED, 5, "heldout: must be a Pool"),
    (NAMED, wb.Pool([10.0], ids=["x"]),
     "heldout: must name an item of pool 'pool' by ids, got 1 of 1 items that do not, such as 'h1'"),
    (NAMED, wb.Pool([np.nan], ids=["h1"]), "heldout: must have a label of each item, got none of 'h1'"),
    (wb.Pool(np.full(ITEMS, np.nan), ids=NAMED.ids), HELDOUT, "heldout: must be given with a pool that has labels"),
    (wb.Pool(NAMED.difficulty, ids=NAMED.ids, category=np.arange(ITEMS) % 2), HELDOUT,
     "heldout: must have a category of each item, as the pool has, got none"),
])  # fmt: skip
def test_held_out_items_that_cannot_be_used_are_one_line(pool, heldout, said):
    log = log_of([(s, f"q{s}", 2, 4) for s in range(1, 12)], [(3, "h1", 1, 4)])
    with pytest.raises(InputError) as error:
        calibrate(log, pool, ["scalar"], heldout=heldout, progress=False)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_pool_of_held_out_items_needs_a_log_with_evaluations():
    log = log_of([(s, f"q{s}", 2, 4) for s in range(1, 12)], [])
    with pytest.raises(InputError, match=r"^heldout: must be given with a log that has evaluations, got "):
        calibrate(log, NAMED, ["scalar"], heldout=HELDOUT, progress=False)


def test_the_command_takes_held_out_items(tmp_path, monkeypatch, capsys):
    _, (log,) = simulated("scalar", 1, 6)
    log.to_frame().to_csv(tmp_path / "log.csv", index=False)
    NAMED.save(tmp_path / "pool.csv"), HELDOUT.save(tmp_path / "heldout.csv")
    line = ["--log", tmp_path / "log.csv", "--pool", tmp_path / "pool.csv", "--learners", "scalar,natural",
            "--candidates", "uniform,mopps", "--steps", 4, "--batch", 4, "--rollouts", 4, "--lanes", 8, "--jobs", 1]
    told = {}
    for name, more in (("without", ()), ("with", ("--heldout", tmp_path / "heldout.csv"))):
        status, _, said = call(advise, monkeypatch, capsys, *line, *more, "--out", tmp_path / name)
        assert status == 0
        assert "60 evaluations of 12 held-out items, which train nothing" in said
        told[name] = json.loads((tmp_path / name / "fit.json").read_text())
    assert "(heldout=, --heldout)" in " ".join(told["without"]["unknown"])
    assert "(heldout=, --heldout)" not in " ".join(told["with"]["unknown"])
    assert told["with"]["laws"]["scalar"]["draws"] != told["without"]["laws"]["scalar"]["draws"]
