"""Work in a fork with limits, and what chat templates of other people can do with it: nothing but write prompts."""

import contextlib
import os
import sys
import threading
import time

import pytest

from real_runs.rl.models import character_tokenizer
from real_runs.tasks import forked, prompting
from real_runs.tasks.forked import Gone, OutOfTime, in_fork, limit_memory
from real_runs.tasks.prompting import Prompting
from workbench.errors import InputError

GIGABYTE = 2**30
LONG = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"

# template -> the reason that is told
HOSTILE = {
    "a loop without end": ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
    "loops in loops": (LONG, "seconds"),
    "a power that takes years": ("{% set x = 10**(10**10) %}{{ x }}", "seconds"),
    "a power when it is compiled": ("{{ 7**(10**10) }}", "seconds"),
    "a megabyte": ("{% for i in range(99999) %}0123456789{% endfor %}", "adds more than 100000 characters"),
    "ten gigabytes": ("{{ 'x' * 10**10 }}", "MemoryError"),
    "doubling": ("{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                 "template"),  # memory or time, what ends first
    "a way out": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "a way out by attr": ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
    "its own refusal": ("{{ raise_exception('no\\x1b[2J system\\nturns') }}", "no"),
    "wrong syntax": ("{% for %}", "Expected an expression"),
    "no such filter": ("{{ messages | zzz }}", "No filter named"),
    "no such name": ("{{ zzz.y.z }}", "undefined"),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    "no template": ("{% include 'x' %}", "no loader"),
    "not text": ("{{ messages + 1 }}", "concatenate"),
}  # fmt: skip


def asked(template, monkeypatch, prompts=("2+2=", "3+3=")):
    monkeypatch.setattr(prompting, "RENDERING_SECONDS", 1.0)
    tokenizer = character_tokenizer()
    tokenizer.chat_template = template
    return Prompting().tokens(tokenizer, prompts)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_chat_template_is_refused_in_one_line(name, monkeypatch):
    template, reason = HOSTILE[name]
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^(prompt|model): must have .*chat template") as refused:
        asked(template, monkeypatch)
    line = str(refused.value)
    assert reason in line
    assert line.isprintable()
    assert len(line) < 400
    assert time.monotonic() - start < 60  # it ends


def test_the_prompts_of_a_harmless_template_come_in_their_order(monkeypatch):
    ids = asked("{{ messages[-1].content }}", monkeypatch, [f"{i}=" for i in range(200)])
    tokenizer = character_tokenizer()
    assert ids == tokenizer([f"{i}=" for i in range(200)], add_special_tokens=False)["input_ids"]


def test_a_fork_gives_back_what_work_returns_and_leaves_ours_alone():
    ours = []
    assert in_fork(lambda: ours.append(1) or {"pid": os.getpid()}, 10, GIGABYTE)["pid"] != os.getpid()
    assert ours == []
    big = in_fork(lambda: "x" * 10**6, 10, GIGABYTE)  # more than a pipe holds
    assert big == "x" * 10**6


def test_a_fork_that_sleeps_or_ends_is_told_and_gone():
    start = time.monotonic()
    with pytest.raises(OutOfTime):
        in_fork(lambda: time.sleep(60), 0.2, GIGABYTE)
    assert time.monotonic() - start < 50  # not after the minute that it sleeps
    with pytest.raises(Gone):
        in_fork(lambda: os._exit(3), 10, GIGABYTE)
    with pytest.raises(Gone):
        in_fork(lambda: 1 // 0, 10, GIGABYTE)
    with contextlib.suppress(ChildProcessError):  # none is left, or only what other tests have begun
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


def test_a_fork_is_made_from_any_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(in_fork(lambda: 5, 10, GIGABYTE)))
    thread.start()
    thread.join(20)
    assert found == [5]


def after_limit(most):
    limit_memory(most)
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0]


def test_memory_is_bounded_as_far_as_the_system_allows(monkeypatch):
    import resource

    least = forked._address_space() + GIGABYTE
    assert in_fork(lambda: after_limit(least), 10, 8 * GIGABYTE) == least

    def lower_first():
        resource.setrlimit(resource.RLIMIT_AS, (least, least))
        return after_limit(16 * least)

    assert in_fork(lower_first, 10, 8 * GIGABYTE) == least
    monkeypatch.setattr(resource, "setrlimit", lambda *_: (_ for _ in ()).throw(ValueError("not here")))
    limit_memory(least)
    monkeypatch.setitem(sys.modules, "resource", None)
    limit_memory(least)
    assert in_fork(lambda: 5, 10, GIGABYTE) == 5
