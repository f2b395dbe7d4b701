"""A smaller run of the simulation of limited live; `make simulate` runs all of it.

`make test` draws 30 experiments a scenario: a rate that is 0.05 has a Monte Carlo standard error of 0.040, those of the
wrong interval are 0.37 and more. `make simulate` holds the same bounds on 120 (error 0.020).
"""

from __future__ import annotations

import pytest

from et_pipeline_tests.statistics import arms_simulation
from et_pipeline_tests.statistics.arms_simulation import COLUMNS, LiveScenario, Summary, main, run, table_row

pytestmark = pytest.mark.xdist_group("arms_simulation")
SCENARIOS = [
    LiveScenario("effects", 0.1, 60, 3000, 168, market_sd=0.5, hour_sd=0.3, daily_sd=0.3),
    LiveScenario("memory, t(3)", 0.1, 60, 3000, 168, market_sd=0.5, hour_sd=0.7, phi=0.6, tails=True),
    LiveScenario("drifting split", 0.5, 30, 3000, 168, market_sd=1.0, drifting=1.0),
]  # fmt: skip


@pytest.fixture(scope="module", params=[30, pytest.param(120, marks=pytest.mark.simulate)])
def summaries(request: pytest.FixtureRequest) -> dict[str, Summary]:
    return {row.scenario.name: row for row in run(SCENARIOS, request.param, 7, processes=1)}


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
@pytest.mark.parametrize("rule", ["adjusted", "unadjusted"])
def test_no_difference_is_called_one_at_most_as_often_as_promised(summaries, name, rule):
    assert summaries[name].false_rate(rule) <= summaries[name].allowed


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_the_scenarios_can_tell_a_wrong_interval(summaries, name):
    """The same trades by the t interval of two independent samples, with a look after every block."""
    assert summaries[name].false_rate("t") >= 0.2


def test_all_trades_find_what_the_few_pairs_cannot(summaries):
    row = summaries["effects"]
    adjusted, unadjusted, nearest, _ = row.power
    assert adjusted >= unadjusted >= 0.6
    assert nearest <= 0.1
    assert row.se[2] >= 2.5


def test_the_adjustment_narrows_where_markets_differ_and_hardly_widens_elsewhere(summaries):
    assert summaries["effects"].se[0] <= 0.95
    assert summaries["drifting split"].se[0] <= 0.8
    assert summaries["memory, t(3)"].se[0] <= 1.01


def test_the_seed_alone_decides_the_result():
    few = [LiveScenario("tiny", 0.5, 5, 400, 40)]
    assert list(run(few, 6, 1, processes=1)) == list(run(few, 6, 1, processes=2))
    assert list(run(few, 6, 1, processes=1)) != list(run(few, 6, 2, processes=1))


def test_the_command_prints_one_row_per_scenario(monkeypatch, capsys):
    few = [LiveScenario("tiny", 0.5, 5, 400, 40), LiveScenario("sized", 0.5, 5, 400, 40, sized=True)]
    monkeypatch.setattr(arms_simulation, "SCENARIOS", few)
    monkeypatch.setattr("sys.argv", ["simulate", "--experiments", "5", "--processes", "1"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["tiny", "sized"]


def test_table_has_as_many_cells_in_every_line(summaries):
    assert {table_row(row).count(" | ") for row in summaries.values()} == {len(COLUMNS) - 1}
