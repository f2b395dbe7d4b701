"""Pairs without a value: how many there are, where they are, and whether they are related to the other arm's value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from et_pipeline.defs import evidence as checks
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.evidence.gaps import difference_of_means
from et_pipeline.inference.boundary import solve_g
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import transaction
from et_pipeline_tests.evidence.lab import START, add_experiment
from et_pipeline_tests.pairing.lab import Lab, open_lab, report, variant_report


def evidence_of(
    lab: Lab, pairs: list[tuple[int, str, dict[str, Any], dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """The diagnostics of pairs (hour, market, the control's metrics, the variant's), by metric."""
    reports = []
    for number, (hour, market, control, variant) in enumerate(pairs):
        at = START + timedelta(hours=hour, minutes=number % 60)
        common = {"strategy_id": "strat.exp", "market_id": market, "emitted_at": at}
        reports += [
            report(
                f"c{number}", f"o{number}", **{"edge_bps": None, **control, **common, "config_version": "1"}
            ),
            variant_report(
                f"v{number}", f"o{number}", **{"edge_bps": None, **variant, **common, "config_version": "2"}
            ),
        ]
    with transaction(lab.connection):
        lab.ingest(*reports)
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])
    build_evidence(lab.connection, ["exp"])
    found = lab.connection.execute("SELECT * FROM diagnostics")
    names = [column[0] for column in found.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row["metric"]: row for row in rows}


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    with open_lab() as opened:
        add_experiment(opened.connection, settings, metrics=[{"name": "edge_bps", "role": "primary"}])
        yield opened


def test_shares_by_arm_and_the_worst_block_are_in_the_diagnostics(lab: Lab) -> None:
    edge, none = {"edge_bps": 1.0}, {"edge_bps": None}
    found = evidence_of(
        lab,
        [
            *((hour, f"m{market}", edge, edge) for hour in range(4) for market in range(4)),
            (1, "m0", edge, none),
            (2, "m0", none, none),
            (2, "m1", edge, none),
            (2, "m2", none, edge),
        ],
    )["edge_bps"]
    assert found["missing_share"] == 4 / 20
    assert (found["missing_control_share"], found["missing_variant_share"]) == (2 / 20, 3 / 20)
    assert (found["missing_blocks"], found["missing_worst_share"]) == (2, 3 / 7)
    assert found["missing_worst_block"] == START + timedelta(hours=2)
    assert found["missing_arm"] == "variant"


def test_a_metric_with_all_its_values_says_so(lab: Lab) -> None:
    edge = {"edge_bps": 1.0}
    found = evidence_of(lab, [(hour, "m0", edge, edge) for hour in range(3)])["edge_bps"]
    assert (found["missing_share"], found["missing_blocks"]) == (0.0, 0)
    assert (found["missing_sentence"], found["missing_arm"]) == (None, None)


def test_a_metric_without_a_single_value_is_told_too(lab: Lab) -> None:
    found = evidence_of(lab, [(hour, "m0", {"latency_ms": 1.0}, {"latency_ms": 1.0}) for hour in range(3)])
    assert found["edge_bps"]["missing_share"] == 1.0
    assert "too few values of the control are known" in found["edge_bps"]["missing_sentence"]
    assert found["edge_bps"]["as_of"] == START + timedelta(hours=3)
    assert not checks.values_present(lab.connection).passed


def pairs_with_gaps(seed: int, *, by_outcome: bool) -> list[tuple[int, str, dict[str, Any], dict[str, Any]]]:
    """Pairs of which the variant's lack a fifth of their edges: the losing ones, or any."""
    rng = np.random.default_rng(seed)
    pairs = []
    for hour in range(30):
        for market in range(22):
            control = float(rng.normal(10, 12))
            variant = control + float(rng.normal(0, 5))
            lost = variant < 0 if by_outcome else rng.random() < 0.2
            pairs.append((hour, f"m{market}", {"edge_bps": control}, {"edge_bps": None if lost else variant}))
    return pairs


@pytest.mark.parametrize(("by_outcome", "said"), [(True, "are a biased selection"), (False, "no sign that")])
def test_gaps_that_hide_losing_trades_are_told_from_accidents(lab: Lab, by_outcome: bool, said: str) -> None:
    found = evidence_of(lab, pairs_with_gaps(7, by_outcome=by_outcome))["edge_bps"]
    assert said in found["missing_sentence"]
    lower, upper = found["missing_difference_lower"], found["missing_difference_upper"]
    assert lower < found["missing_difference"] < upper
    assert (upper < 0) == by_outcome
    said_share = checks.values_present(lab.connection).description or ""
    assert f"{found['missing_share']:.1%} of the pairs have no value" in said_share
    assert "at most 5.0% is allowed" in said_share


def test_a_difference_of_two_means_by_hand() -> None:
    """Where the gaps are the other arm's mean is 4, elsewhere 1."""
    blocks = np.repeat(np.arange(6), 2)
    markets = np.tile([0, 1], 6)
    ones = np.ones(12)
    found = difference_of_means(
        blocks, markets, (4.0 * ones, ones), (2.0 * ones, 2.0 * ones), alpha=0.05, g=0.5
    )
    assert found is None, "there is no spread, so no interval"
    noise = np.tile([0.5, -0.5, -0.5, 0.5], 3)
    found = difference_of_means(
        blocks, markets, (4.0 * ones + noise, ones), (2.0 * ones, 2.0 * ones), alpha=0.05, g=0.5
    )
    assert found is None or found[0] == pytest.approx(3.0)


def test_gaps_by_accident_are_called_a_selection_seldom() -> None:
    """200 samples whose gaps hang on nothing, with effects of markets and of hours in the values: at most alpha."""
    rng = np.random.default_rng(20261126)
    alpha, runs, wrong = 0.05, 200, 0
    g = solve_g(15, alpha)
    blocks, markets = (part.ravel() for part in np.meshgrid(np.arange(40), np.arange(15), indexing="ij"))
    for _ in range(runs):
        values = rng.normal(0, 1, 40)[blocks] + rng.normal(0, 1, 15)[markets] + rng.normal(0, 3, blocks.shape)
        gap = rng.random(blocks.shape) < 0.2
        found = difference_of_means(
            blocks, markets, (values * gap, 1.0 * gap), (values * ~gap, 1.0 * ~gap), alpha=alpha, g=g
        )
        assert found is not None
        wrong += not found[1] <= 0.0 <= found[2]
    error = (alpha * (1 - alpha) / runs) ** 0.5  # Monte Carlo standard error: 0.015
    assert wrong / runs <= alpha + 2 * error


def test_the_pairs_are_not_read_where_nothing_is_missing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the pairs were read")

    monkeypatch.setattr("et_pipeline.evidence.gaps._difference", never)
    edge = {"edge_bps": 1.0}
    assert evidence_of(lab, [(0, "m0", edge, edge)])["edge_bps"]["missing_share"] == 0.0


def test_counting_what_is_missing_does_not_need_the_order_of_ticks(settings: Settings) -> None:
    pairs = pairs_with_gaps(3, by_outcome=True)[:60]
    results = []
    for order in (pairs, pairs[::-1]):
        with open_lab() as lab:
            add_experiment(lab.connection, settings, metrics=[{"name": "edge_bps", "role": "primary"}])
            found = evidence_of(lab, order)["edge_bps"]
            results.append({name: value for name, value in found.items() if name.startswith("missing")})
    assert results[0] == results[1]
