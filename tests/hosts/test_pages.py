"""What the README shows of TRL is what the example does; the example runs in test_docs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_lines_in_the_readme_are_those_of_the_example():
    (block,) = re.findall(r"^```py\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    there = [line.strip() for line in (ROOT / "examples" / "trl_adarft.py").read_text().splitlines()]
    shown = [line.strip() for line in block.splitlines() if line.strip()]
    assert 5 <= len(shown) <= 10
    assert not [line for line in shown if line not in there]
