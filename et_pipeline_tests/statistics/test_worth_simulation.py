"""A smaller run of the simulation of derived metrics, weightings and verdicts; `make simulate` runs all of it.

`make test` draws 30 experiments a scenario: a rate that is 0.05 has a Monte Carlo standard error of 0.040.
`make simulate` holds the same bounds on 100 (error 0.022).
"""

from __future__ import annotations

import pytest

from et_pipeline_tests.statistics import worth_simulation
from et_pipeline_tests.statistics.worth_simulation import Summary, Worth, curse, main, run, table

pytestmark = pytest.mark.xdist_group("worth_simulation")
SCENARIOS = [
    Worth("by size", "by size", 150, 60, 1500),
    Worth("by size, true uplift", "by size", 150, 60, 1500, own_sizes=True, uplift=0.5),
    Worth("share", "share", 150, 60, 1500, uplift=0.5),
    Worth("bounded", "bounded share", 150, 60, 1500, rare=0.02, market_sd=0.0, block_sd=0.0),
    Worth("pairs", "pairs", 150, 150, 1500, True, 0.42, 0.0),
    Worth("markets", "pairs", 150, 150, 1500, True, 0.42, 0.0, over_markets=True),
    Worth("by size over markets", "by size", 150, 150, 1500, True, 0.42, 0.0, over_markets=True),
    Worth("all trades", "trades", 150, 150, 4000, True, 1.5, 0.0),
    Worth("all trades over markets", "trades", 150, 150, 4000, True, 1.5, 0.0, over_markets=True),
    Worth("bounded over markets", "bounded share", 150, 60, 1500, rare=0.02, over_markets=True),
]  # fmt: skip


@pytest.fixture(scope="module", params=[30, pytest.param(100, marks=pytest.mark.simulate)])
def summaries(request: pytest.FixtureRequest) -> dict[str, Summary]:
    return {row.scenario.name: row for row in run(SCENARIOS, request.param, 3, processes=1)}


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_the_truth_is_missed_at_most_as_often_as_promised(summaries, name):
    assert summaries[name].missed_rate <= summaries[name].allowed


def test_most_experiments_have_an_interval(summaries):
    assert all(row.unready <= 0.3 for row in summaries.values())


def test_heavy_tailed_markets_count_less_where_markets_are_what_is_averaged(summaries):
    assert summaries["markets"].spread < 0.75 * summaries["pairs"].spread
    assert summaries["markets"].clusters > 2 * summaries["pairs"].clusters
    assert summaries["all trades over markets"].spread < 0.8 * summaries["all trades"].spread


def test_the_estimate_at_a_verdict_is_too_high_for_no_more_than_half_of_all_experiments():
    row = curse(2.0, 200, 1, looks=16)
    assert row.unbiased_too_high <= 0.5 + 2 * (0.25 / 200) ** 0.5
    assert row.mean_bias > row.unbiased_bias + 0.1


def test_the_seed_alone_decides_the_result():
    few = [Worth("tiny", "by size", 40, 5, 300)]
    assert run(few, 6, 1, processes=1) == run(few, 6, 1, processes=2)
    assert run(few, 6, 1, processes=1) != run(few, 6, 2, processes=1)


def test_the_command_prints_one_row_per_scenario(monkeypatch, capsys):
    few = [Worth("tiny", "share", 40, 5, 300), Worth("sized", "by size", 40, 5, 300)]
    monkeypatch.setattr(worth_simulation, "SCENARIOS", few)
    monkeypatch.setattr("sys.argv", ["simulate", "--experiments", "20", "--processes", "1"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["tiny", "sized"]
    assert len(lines) == 4 + 1 + 2 + 4


def test_table_has_as_many_cells_in_every_line(summaries):
    assert len({line.count("|") for line in table(list(summaries.values())).splitlines()}) == 1
