"""Each rule finds its mistake in the program of its page that fails, and none in the one that works."""

from __future__ import annotations

import pytest

from outlive.lint import check_source
from outlive.lint.fixes import fixed
from tests.lint.pages import ALL, programs


@pytest.mark.parametrize("rule", ALL)
def test_the_failing_program_is_flagged_for_that_alone(rule):
    fails, works = programs(rule)
    assert {finding.code for finding in check_source(fails.code)} == {rule}
    assert check_source(works.code) == []


def test_the_fix_of_a_failing_program_is_the_working_program():
    fails, works = programs("OUT401")
    assert fixed(fails.code, "page.py")[0] == works.code
