"""The table `breakdowns`: its figures are those of an experiment with these pairs alone, and it is updated with the
cells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import numpy as np
import polars as pl
import pytest

from et_pipeline.contracts.breakdowns import MAX_VALUES, OTHER
from et_pipeline.evidence.breakdowns import _merged, breakdown_rows
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.warehouse import audit
from et_pipeline_tests.pairing.lab import START, Lab, open_lab
from et_pipeline_tests.pairing.test_segments import ASKED, LIVE, some_reports


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab() as found:
        yield found


def tick(lab: Lab, *names: str) -> None:
    build_pairs(lab.connection, names or ["exp"])
    build_cells(lab.connection, names or ["exp"])
    build_evidence(lab.connection, names or ["exp"])


def table(lab: Lab) -> list[tuple[object, ...]]:
    return lab.rows("SELECT * FROM breakdowns ORDER BY ALL")


def test_a_value_has_the_interval_of_an_experiment_of_its_pairs_alone(lab: Lab) -> None:
    reports = some_reports(1, 600, [f"nba-{number}" for number in range(40)])
    lab.plan(plan=ASKED)
    lab.ingest(*reports)
    tick(lab)
    whole = lab.rows("SELECT max(as_of) FROM interval_path WHERE closed")
    assert lab.rows("SELECT DISTINCT as_of FROM breakdowns") == whole
    for side in ("BUY", "SELL"):
        with open_lab() as alone:
            alone.plan()
            alone.ingest(*(item for item in reports if item["side"] == side))
            tick(alone)
            figures = "n_pairs, effective_clusters, mean_uplift, se, ci_lower, ci_upper, e_value"
            (expected,) = alone.rows(
                f"SELECT {figures} FROM interval_path WHERE as_of <= '{whole[0][0]}' ORDER BY as_of DESC LIMIT 1"
            )
        (found,) = lab.rows(f"SELECT {figures} FROM breakdowns WHERE value = '{side}'")
        assert found == expected
        assert found[4] is not None
    shares = lab.rows("SELECT sum(share) FROM breakdowns GROUP BY dimension")
    assert [share for (share,) in shares] == [pytest.approx(1)] * 5


@pytest.mark.parametrize("live", [False, True], ids=["pairs", "trades"])
def test_ticks_and_order_do_not_matter(live: bool) -> None:
    reports = some_reports(5, 200, **({"mode": "live"} if live else {}))
    states = []
    for size in (len(reports), 150):
        with open_lab() as lab:
            lab.plan(plan=ASKED, **(LIVE if live else {}))
            detail = {"plan": {"traffic_split_pct": 10}}
            audit.append(lab.connection, START.replace(tzinfo=UTC), "exp", "plan_registered", detail=detail)
            for start in range(0, len(reports), size):
                lab.ingest(*reports[start : start + size])
                tick(lab)
            states.append(table(lab))
    assert len(states[0]) > 30 and states[0] == states[1]
    assert live or all(row[9] is not None for row in states[0]), "every value has a mean"


def test_only_an_experiment_with_news_is_computed_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.plan(plan=ASKED)
    lab.plan("quiet", plan=ASKED, control_strategy_id="other", variant_strategy_id="another")
    quiet = [
        item | {"strategy_id": {"c": "other", "v": "another"}[item["strategy_id"]]}
        for item in some_reports(7, 50)
    ]
    lab.ingest(*some_reports(8, 50), *quiet)
    tick(lab, "exp", "quiet")
    computed: list[str] = []

    def counted(experiment, frame, as_of):
        computed.append(experiment.experiment_id)
        return breakdown_rows(experiment, frame, as_of)

    monkeypatch.setattr("et_pipeline.evidence.breakdowns.breakdown_rows", counted)
    before = table(lab)
    tick(lab, "exp", "quiet")
    assert computed == [] and table(lab) == before
    lab.ingest(*some_reports(9, 20))
    tick(lab, "exp", "quiet")
    assert computed == ["exp"]
    assert [row for row in table(lab) if row[0] == "quiet"] == [row for row in before if row[0] == "quiet"]


def cells_of(values: dict[str, float], blocks: int = 60, seed: int = 1) -> pl.DataFrame:
    """Cells of one dimension: each value's mean uplift, in every block and in five markets."""
    rng = np.random.default_rng(seed)
    rows = [
        ("side", value, START.timestamp() * 1e6 + block * 3.6e9, market, 2, 2 * mean + rng.normal(), 1.0)
        for value, mean in values.items()
        for block in range(blocks)
        for market in range(20)
    ]
    frame = pl.DataFrame(
        rows, schema=["dimension", "value", "block", "market", "n", "sum", "m2"], orient="row"
    )
    nothing = {name: pl.lit(None, pl.Float64) for name in ("numerator_control", "denominator_control",
               "numerator_variant", "denominator_variant", "n_control", "n_variant")}  # fmt: skip
    return frame.with_columns(pl.col("block").cast(pl.Int64), **nothing).sort("value", "block", "market")


def rows_of(lab: Lab, values: dict[str, float]) -> dict[str, dict[str, object]]:
    lab.plan()
    (experiment,) = registered_experiments(lab.connection)
    return {row["value"]: row for row in breakdown_rows(experiment, cells_of(values), START)}


def test_values_that_differ_are_told_from_those_that_do_not(lab: Lab) -> None:
    same = rows_of(lab, {"a": 0.5, "b": 0.5, "c": 0.5})
    assert all(row["stands"] for row in same.values())
    assert {row["heterogeneity_p_value"] for row in same.values()} == {1.0}
    differ = rows_of(lab, {"a": 0.0, "b": 0.0, "c": 0.5})
    assert {value for value, row in differ.items() if row["stands"]} == {"c"}
    assert differ["a"]["heterogeneity_p_value"] <= 0.01
    alone = rows_of(lab, {"a": 0.5})
    assert alone["a"]["heterogeneity_p_value"] is None and alone["a"]["share"] == 1.0


def test_at_most_fifty_values_are_shown_and_the_rest_is_counted(lab: Lab) -> None:
    lab.plan()
    (experiment,) = registered_experiments(lab.connection)
    frame = cells_of({f"v{number:02}": 0.0 for number in range(60)}, blocks=15)
    frame = frame.with_columns(n=pl.col("n") + pl.col("value").str.slice(1).cast(pl.Int64))
    rows = breakdown_rows(experiment, frame, START)
    assert len(rows) == MAX_VALUES + 1
    (other,) = [row for row in rows if row["value"] == OTHER]
    assert other["n_values"] == 10
    assert other["n_pairs"] == frame.filter(pl.col("value") < "v10")["n"].sum()
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    shuffled = breakdown_rows(
        experiment, frame.sample(fraction=1, shuffle=True, seed=1).sort("value", "block", "market"), START
    )
    assert shuffled == rows


def test_cells_of_several_values_merge_to_those_of_their_pairs() -> None:
    rng = np.random.default_rng(3)
    pairs = pl.DataFrame(
        {"value": rng.choice(["a", "b"], 500), "block": rng.integers(4, size=500), "market": rng.integers(3, size=500),
         "uplift": rng.normal(size=500)}
    )  # fmt: skip
    figures = {
        "n": pl.len().cast(pl.Int64),
        "sum": pl.sum("uplift"),
        "m2": pl.var("uplift", ddof=0) * pl.len(),
    }
    nothing = dict.fromkeys(("numerator_control", "denominator_control", "numerator_variant", "denominator_variant",
                             "n_control", "n_variant"), pl.lit(None, pl.Float64))  # fmt: skip
    merged = _merged(pairs.group_by("value", "block", "market").agg(**figures).with_columns(**nothing))
    whole = pairs.group_by("block", "market").agg(**figures).sort("block", "market")
    for name in figures:
        assert merged[name].to_list() == pytest.approx(whole[name].to_list())
