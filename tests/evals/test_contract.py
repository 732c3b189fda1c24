"""Every evaluator keeps the contract of jfsr.evals."""

from __future__ import annotations

import inspect

import pytest

from jfsr import evals
from jfsr.evals import Column, Context

NAMES = [name for names in evals.TASKS.values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluator_offers_what_scoring_asks_for(name):
    evaluator = evals.find(name)
    assert list(inspect.signature(evaluator.run).parameters) == ["faces", "context"]
    assert all(isinstance(column, Column) for column in evaluator.COLUMNS.values())
    assert isinstance(evaluator.NETWORK, str)
    if evaluator.NETWORK:
        assert list(inspect.signature(evaluator.program).parameters) == ["network", "variables"]
    if hasattr(evaluator, "facts"):
        assert list(inspect.signature(evaluator.facts).parameters) == ["lines", "context"]
    if hasattr(evaluator, "summarize"):
        assert list(inspect.signature(evaluator.summarize).parameters) == ["lines"]


@pytest.mark.parametrize("name", evals.TASKS["faces"])
def test_without_faces_there_are_no_lines_and_no_facts(name):
    evaluator = evals.find(name)
    assert evaluator.run([], Context()) == []
    if hasattr(evaluator, "facts"):
        assert evaluator.facts([], Context()) == []


def test_networks_of_every_kind_that_is_read_can_be_named_on_the_command_line():
    from support import ROOT

    text = (ROOT / "eval.py").read_text(encoding="utf-8")
    for kind in evals.kinds():
        assert f'DEFINE_string("{kind}"' in text
