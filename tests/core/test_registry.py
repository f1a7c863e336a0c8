"""Names: shipped, entry points of installed packages, package.module:Name."""

import importlib
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

import workbench as wb
from workbench import registry
from workbench.controllers import Gate, Rule
from workbench.errors import InputError
from workbench.learners import Law
from workbench.registry import find_gate, find_law, find_rule, make_controller, name_of, names, parts_of

OUTSIDE = '''
from dataclasses import dataclass
import workbench as wb

@dataclass(frozen=True)
class Shy(wb.Uniform):
    share: float = 0.5

@dataclass(frozen=True)
class Picky(wb.DynamicSampling):
    pass

@dataclass(frozen=True)
class Slow(wb.ScalarIRT):
    kappa: float = 0.001

@dataclass(frozen=True)
class Needy(wb.Uniform):
    share: float = None

    def __post_init__(self):
        if self.share is None:
            raise TypeError("missing 1 required argument: 'share'")

HALF = Shy(share=0.25)
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module outside the library, importable as `outside_rules`; forgotten afterwards."""
    (tmp_path / "outside_rules.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "outside_rules"
    sys.modules.pop("outside_rules", None)


@pytest.fixture
def installed(outside, monkeypatch):
    """The same module as a package with entry points would have it."""
    groups = {
        "workbench.rules": {"shy": "outside_rules:Shy", "broken": "not_there:Rule", "odd": "outside_rules:Slow"},
        "workbench.gates": {"picky": "outside_rules:Picky"},
        "workbench.learners": {"slow": "outside_rules:Slow"},
    }
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [EntryPoint(n, v, group) for n, v in groups.get(group, {}).items()]
    )


def test_a_class_of_ours_is_registered_by_its_own_metadata():
    assert {type(rule).name for rule in registry.RULES.values()} == set(registry.RULES)
    assert {type(gate).name for gate in registry.GATES.values()} == set(registry.GATES)
    assert {name for law in registry.LAWS.values() for name in type(law).presets} == set(registry.LAWS)


def test_every_name_of_ours_has_a_place_in_the_order():
    assert [*registry.RULES, *registry.GATES, *registry.LAWS] == list(registry.ORDER)


def test_every_rule_and_gate_of_ours_has_a_look_of_its_own():
    looks = [preset.look for preset in (*registry.RULES.values(), *registry.GATES.values())]
    assert None not in looks
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("kinds", [registry.RULES, registry.GATES, registry.LAWS])
def test_names_of_ours_come_back(kinds):
    for name, preset in kinds.items():
        assert name_of(preset) == name


def test_settings_of_a_rule_do_not_change_its_name_but_those_of_a_law_tell_its_presets_apart():
    assert name_of(wb.AdaRFT(eta=3.0)) == "adarft"
    assert name_of(wb.ScalarIRT(gamma=0.0)) == "natural"
    assert name_of(wb.ScalarIRT(kappa=0.5)) == "scalar"


def test_module_and_name_are_taken_wherever_a_name_is(outside):
    assert find_rule(f"{outside}:Shy").share == 0.5
    assert find_rule(f"{outside}:HALF").share == 0.25
    assert isinstance(find_gate(f"{outside}:Picky"), Gate)
    assert find_law(f"{outside}:Slow").kappa == 0.001
    assert parts_of(f"{outside}:Shy+{outside}:Picky+dapo") == (f"{outside}:Shy", f"{outside}:Picky", "dapo")
    assert parts_of(f"{outside}:Picky") == ("uniform", f"{outside}:Picky")
    rule, gates = make_controller(f"{outside}:Shy+dapo", {f"{outside}:Shy.share": 0.1, "dapo.max_batches": 2})
    assert (rule.share, gates[0].max_batches) == (0.1, 2)
    assert name_of(rule) == f"{outside}:Shy"  # not "uniform", whose class it inherits


@pytest.mark.parametrize("name", ["outside_rules:Shy", "shy", "outside_rules:HALF"])
def test_a_name_stands_for_the_class_of_today_after_its_module_was_loaded_again(installed, tmp_path, monkeypatch, name):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits in one second look the same to a .pyc file

    def keys():
        return {cell.key for cell in wb.Study(["uniform"], ["scalar"], [name], seeds=2, steps=2).cells}

    before, old = find_rule(name), keys()
    assert find_rule(name) is before
    (tmp_path / "outside_rules.py").write_text(OUTSIDE.replace("0.5", "0.75").replace("0.25", "0.125"))
    module = importlib.reload(sys.modules["outside_rules"])
    after = find_rule(name)
    assert type(after) is module.Shy
    assert after.share != before.share
    assert type(make_controller(name)[0]) is module.Shy
    assert len(keys() - old) == 2  # the rule is computed again, uniform sampling is not


def test_an_outside_rule_runs_in_a_controller(outside):
    rule, gates = make_controller(f"{outside}:Shy+dapo")
    controller = wb.Controller(rule, wb.Pool.synthetic("uniform", 100), gates)
    record = wb.train(controller, wb.SimLearner(find_law(f"{outside}:Slow"), controller.pool), steps=2, batch=8)
    assert record.steps[-1] == 2


def test_entry_points_are_names(installed):
    assert find_rule("shy").share == 0.5
    assert find_law("slow").kappa == 0.001
    assert parts_of("shy+picky") == ("shy", "picky")
    assert names(Rule)[-3:] == ["broken", "odd", "shy"]
    assert names(Law)[-1] == "slow"
    assert name_of(find_rule("shy")) == "shy"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "controllers (entry point 'broken' of workbench.rules): must name a module that can be imported"),
        ("odd", "controllers: must be a Rule, got odd"),
        ("outside_rules:Needy", "controllers: must have defaults for all hyper-parameters"),
        ("outside_rules:Nobody", "controllers: must name what outside_rules has, got 'outside_rules:Nobody'"),
        ("nowhere.at_all:X", "controllers: must name a module that can be imported"),
        ("outside_rules:", "controllers: must be package.module:Name"),
        (":X", "controllers: must be package.module:Name"),
        ("outside_rules:Slow", "controllers: must be a rule ("),
        ("nope", "controllers: must be a rule ("),
        ("", "controllers: must be a rule ("),
        (7, "controllers: must be a name, got 7"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(installed, name, said):
    with pytest.raises(InputError) as error:
        parts_of(name)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_setting_of_an_outside_rule_is_named_by_its_full_name(outside):
    assert registry.setting_value(f"{outside}:Shy.share", "0.75") == 0.75
    with pytest.raises(InputError, match=f"{outside}:Shy.nope: must be a hyper-parameter"):
        make_controller(f"{outside}:Shy", {f"{outside}:Shy.nope": 1.0})


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(InputError, match="name: must belong to one class, got 'uniform'"):
        registry._by_name([("uniform", wb.Uniform()), ("uniform", wb.AdaRFT())])


def test_the_registry_loads_nothing_from_outside_until_it_is_asked():
    program = textwrap.dedent("""
        import sys
        from importlib import metadata
        metadata.EntryPoint.load = None
        from workbench import registry
        registry.names(registry.Rule)
        assert not any(name.startswith("torch") for name in sys.modules)
    """)
    subprocess.run([sys.executable, "-c", program], check=True)
