"""Settings at the ends of their domains: none is without an end, and with each all stays finite, without a warning."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.lanes import lane_fields
from workbench.registry import GATES, LAWS, RULES
from workbench.testing import small_pool

LOW = re.compile(r"must be a(?: whole)? number (?:in |>= )([\[(]?)([^\s,]+)")
HIGH = re.compile(r"must be a(?: whole)? number in [\[(]\S+, ([^\s,]+)([\])])")
pytestmark = pytest.mark.filterwarnings("ignore::workbench.controllers.gate.ShortBatch")
BATCH, ROLLOUTS, STEPS = 8, 6, 4
# of a rule that fits a model, settings with which it fits one in a few steps
SOON = {"alp-gmm": {"window": 16, "buffer": 20, "components": (1, 2)}, "dots": {"reference": 12}}


def subjects():
    """Name -> one of each kind of rule, gate and learner, with the settings of its preset."""
    kinds = {}
    for name, one in (RULES | GATES | LAWS).items():
        kinds.setdefault(type(one), pytest.param(replace(one, **SOON.get(name, {})), id=name))
    return list(kinds.values())


def domain(subject, name, whole):
    """The smallest and the largest value that a setting takes, as is said of one beyond them."""
    found = []
    for beyond, form in ((-(10**300), LOW), (10**300, HIGH)):
        with pytest.raises(InputError) as caught:
            replace(subject, **{name: beyond if whole else float(beyond)})
        said = form.search(str(caught.value))
        assert said, f"{name} has no end: {caught.value}"
        found.append(said.groups())
    (opened, low), (high, closed) = found
    low = np.nextafter(float(low), np.inf) if opened == "(" else float(low)
    high = np.nextafter(float(high), -np.inf) if closed == ")" else float(high)
    return (int(low), int(high)) if whole else (float(low), float(high))


def taken(subject, name, values):
    """Those of the values that the subject takes with its other settings as they are: at least one."""
    good = []
    for value in values:
        try:
            changed = replace(subject, **{name: value})
            if isinstance(changed, wb.Rule):
                changed.init(small_pool(), 1)  # some ends are the pool's
        except InputError:
            continue
        good.append(value)
    assert good, name
    return good


def arrays(state):
    """Name -> numbers of a state, (R, ...)."""
    return {name: value for name, value in state._asdict().items() if value.dtype.kind == "f"}


def run(subject, lanes):
    """A few steps; InputError where the subject cannot be run so."""
    pool, seeds = small_pool(), np.arange(lanes)
    rule, gates, law = wb.Uniform(), (), wb.ScalarIRT(kappa=0.5)
    if isinstance(subject, wb.Rule):
        rule = subject
    elif isinstance(subject, wb.Gate):
        gates = (subject,)
    else:
        law = subject
    controller, learner = wb.Controller(rule, pool, gates, seed=seeds), wb.SimLearner(law, pool, seed=seeds)
    steps = 2 if law.trains_model else STEPS  # slow
    record = wb.train(controller, learner, steps, BATCH, ROLLOUTS, steps)
    return arrays(controller.state) | arrays(learner.state) | {"success": np.asarray(record.success)}


def check_finite(found, unknown=()):
    """unknown: names of those that may not be known yet, NaN."""
    for name, value in found.items():
        assert not np.isinf(value).any(), name
        assert name in unknown or not np.isnan(value).any(), name


@pytest.mark.parametrize("subject", subjects())
def test_every_number_at_its_ends(subject):
    """All at once: one lane for each end of each setting, beside one with the usual settings."""
    of_lanes = {name: domain(subject, name, False) for name in lane_fields(type(subject))}
    ends = [(name, value) for name, both in of_lanes.items() for value in taken(subject, name, both)]
    columns = {name: np.full(1 + len(ends), float(getattr(subject, name))) for name in of_lanes}
    for lane, (name, value) in enumerate(ends, start=1):
        columns[name][lane] = value
    found = run(replace(subject, **columns), 1 + len(ends))
    check_finite(found, [name for name, value in found.items() if np.isnan(value[:1]).any()])


@pytest.mark.parametrize("subject", subjects())
def test_every_other_number_at_its_ends(subject):
    """Those that all lanes share, one after another."""
    for field in fields(subject):
        value = getattr(subject, field.name)
        if field.name in lane_fields(type(subject)) or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        for end in taken(subject, field.name, domain(subject, field.name, isinstance(value, int))):
            try:
                found = run(replace(subject, **{field.name: end}), 1)
            except InputError:
                continue  # more than a batch has, or a pool
            everywhere = getattr(subject, "heldout", True)  # otherwise success is that of the strata of the pool
            check_finite(found, found.keys() - {"success"} if everywhere else found.keys())
