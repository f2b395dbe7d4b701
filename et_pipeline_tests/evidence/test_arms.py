"""Evidence of experiments that compare all trades of both arms, from trades to intervals and diagnostics."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from et_pipeline.evidence.calibration import placebo
from et_pipeline.evidence.compute import build_evidence, read_series
from et_pipeline.evidence.paths import path_frame, read_cells
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.governance.records import sample_ratios
from et_pipeline.inference.arms import adjusted
from et_pipeline.inference.ratio import RatioCells, merge, ratio_path
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.warehouse import audit
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, report, variant_report

BLOCKS, TRADES = 60, 900
PLAN = {
    "mode": "limited_live",
    "matching": "arms",
    "tolerance_us": 60_000_000,
    "metrics": {"edge_bps": None, "slippage_bps": None, "size_fill_ratio": None},
}


def register(lab: Lab) -> None:
    """As a tick registers a plan: with a row of the audit log, which holds its split."""
    lab.plan(**PLAN)
    audit.append(lab.connection, START, "exp", "plan_registered", detail={"plan": {"traffic_split_pct": 20}})


class Live:
    """Trades of both arms; slippage is the edge's mirror image, since less of it is better."""

    def __init__(self, lab: Lab) -> None:
        rng = np.random.default_rng(1)
        self.second = np.sort(rng.choice(BLOCKS * 3600, TRADES, replace=False))
        self.market = rng.integers(0, 30, TRADES)
        self.variant = rng.random(TRADES) < 0.2
        self.edge = np.round(5 * rng.normal(size=30)[self.market] + rng.normal(size=TRADES), 6)
        self.asked = np.round(rng.uniform(1, 9, TRADES), 3)
        self.reports = [self._report(number) for number in range(TRADES)]
        register(lab)

    def _report(self, number: int) -> dict[str, object]:
        make, name = (variant_report, "v") if self.variant[number] else (report, "c")
        edge, asked = float(self.edge[number]), float(self.asked[number])
        return make(
            f"{name}{number:04}",
            f"o{number}",
            float(self.second[number]),
            mode="live",
            market_id=f"m{self.market[number]}",
            edge_bps=edge,
            slippage_bps=-edge,
            filled_size=asked / 2,
            asked_size=asked,
        )

    def path(self, *, adjust: bool = True):
        """The path that the inference makes of these trades."""
        arm = np.stack((self.variant, ~self.variant), axis=1).astype(np.float64)
        totals = np.stack((arm * self.edge[:, None], arm), axis=2).reshape(-1, 4)
        epoch = int((START - datetime(1970, 1, 1)) / timedelta(microseconds=1))
        block = epoch + self.second // 3600 * 3_600_000_000
        cells = merge(RatioCells(block, self.market, arm, totals))
        return ratio_path(adjusted(cells) if adjust else cells, alpha=0.05, g=10.0)


@pytest.fixture(scope="module")
def world():
    with open_lab() as lab:
        live = Live(lab)
        lab.ingest(*live.reports)
        tick(lab)
        yield lab, live


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])
    build_evidence(lab.connection, ["exp"])


def test_the_path_is_the_adjusted_difference_of_all_trades(world) -> None:
    lab, live = world
    path = live.path()
    rows = lab.rows(
        "SELECT n_pairs, n_control, n_variant, mean_uplift, se FROM interval_path "
        "WHERE metric = 'edge_bps' ORDER BY as_of"
    )
    n_pairs, n_control, n_variant, mean, se = (
        np.array(column, dtype=float) for column in zip(*rows, strict=True)
    )
    assert (n_control[-1], n_variant[-1]) == ((~live.variant).sum(), live.variant.sum())
    np.testing.assert_array_equal(n_pairs, np.minimum(n_control, n_variant))
    np.testing.assert_allclose(mean[5:], path.mean[5:], rtol=1e-9)
    np.testing.assert_allclose(se[5:], path.se[5:], rtol=1e-7)
    assert lab.rows("SELECT DISTINCT method FROM intervals WHERE metric = 'edge_bps'")[0][0].endswith(
        "all trades, adjusted"
    )


def test_a_metric_of_which_less_is_better_is_turned_round(world) -> None:
    lab, _ = world
    (edge,), (slippage,) = (
        lab.rows(f"SELECT mean_uplift, se, ci_lower, ci_upper FROM intervals WHERE metric = '{metric}'")
        for metric in ("edge_bps", "slippage_bps")
    )
    assert slippage == pytest.approx(edge, rel=1e-9)


def test_a_ratio_metric_divides_each_arms_totals(world) -> None:
    lab, _ = world
    ((mean,),) = lab.rows("SELECT mean_uplift FROM intervals WHERE metric = 'size_fill_ratio'")
    assert mean == pytest.approx(0.0, abs=1e-9)


def test_the_unadjusted_difference_stands_beside_it_with_what_the_adjustment_gained(world) -> None:
    lab, live = world
    plain, taken_out = live.path(adjust=False).at(-1), live.path().at(-1)
    ((mean, lower, upper, gain, market),) = lab.rows(
        "SELECT unadjusted_uplift, unadjusted_ci_lower, unadjusted_ci_upper, variance_taken_out, largest_market "
        "FROM diagnostics WHERE metric = 'edge_bps'"
    )
    assert (mean, lower, upper) == pytest.approx((plain.mean, plain.ci_lower, plain.ci_upper), rel=1e-9)
    assert gain == pytest.approx(1 - (taken_out.se / plain.se) ** 2, rel=1e-6)
    assert gain > 0.5
    assert market == f"m{np.bincount(live.market).argmax()}"


def test_pairs_are_only_samples_and_all_trades_are_watched_for_a_fall(world) -> None:
    lab, live = world
    ((pairs,),) = lab.rows("SELECT count(*) FROM pairs")
    assert 0 < pairs < live.variant.sum() / 2
    assert lab.rows("SELECT metric, count(*), bool_or(alarm) FROM drift GROUP BY ALL") == [
        ("edge_bps", BLOCKS, False)
    ]


def test_tick_by_tick_the_tables_are_the_same_to_the_last_bit(world) -> None:
    whole, live = world
    tables = (
        "pairs",
        "unmatched",
        "series_cells",
        "missing_values",
        "interval_path",
        "intervals",
        "diagnostics",
    )
    tables += ("drift", "sample_ratio", "sample_ratio_within", "sample_ratio_groups")
    with open_lab() as lab:
        register(lab)
        order = np.random.default_rng(3).permutation(TRADES)
        for part in np.array_split(order, 4):
            lab.ingest(*(live.reports[number] for number in part))
            tick(lab)
        for name in tables:
            query = f"SELECT * FROM {name} ORDER BY ALL"
            assert lab.rows(query) == whole.rows(query), name


@pytest.mark.parametrize("scheme", ["markets", "blocks"])
def test_placebo_paths_flip_what_lies_around_each_arms_mean(world, scheme: str) -> None:
    lab, live = world
    (series,) = (
        item
        for item in read_series(lab.connection, registered_experiments(lab.connection))
        if item.terms.name == "edge_bps"
    )
    frame = read_cells(lab.connection, series)
    means = {
        path_frame(series, placebo(series, frame, scheme, number))["mean_uplift"][-1] for number in range(8)
    }
    assert len(means) == 8, "every flip is another path"
    assert max(abs(mean) for mean in means) < 6 * live.path().se[-1], "their true uplift is 0"
    assert placebo(series, frame, scheme, 3).equals(placebo(series, frame, scheme, 3))


def test_missing_values_are_a_share_of_one_arms_own_trades() -> None:
    with open_lab() as lab:
        live = Live(lab)
        hidden = [number for number in np.flatnonzero(live.variant) if number % 3 == 0]
        for number in hidden:
            live.reports[number] |= {"edge_bps": None}
        lab.ingest(*live.reports)
        tick(lab)
        found = lab.rows(
            "SELECT missing_share, missing_control_share, missing_variant_share, missing_sentence FROM diagnostics "
            "WHERE metric = 'edge_bps'"
        )
        share = len(hidden) / live.variant.sum()
        assert found == [(pytest.approx(share), 0.0, pytest.approx(share), None)]


def before(shift: float) -> list[dict[str, object]]:
    """The control's trades of the 60 hours before, in the same markets, with a mean edge of −`shift`."""
    rng = np.random.default_rng(7)
    second = -np.sort(rng.choice(BLOCKS * 3600, 500, replace=False))
    market = rng.integers(0, 30, 500)
    return [
        report(
            f"b{number:04}",
            f"before{number}",
            float(second[number]),
            mode="live",
            market_id=f"m{market[number]}",
            edge_bps=float(np.round(rng.normal() - shift, 6)),
        )
        for number in range(500)
    ]


def level(lab: Lab) -> tuple[object, ...]:
    (found,) = lab.rows(
        "SELECT control_trades_before, control_moved, control_moved_lower, control_moved_upper, control_sentence "
        "FROM diagnostics WHERE metric = 'edge_bps'"
    )
    return found


def test_without_trades_from_before_nothing_is_said_of_the_controls_level(world) -> None:
    lab, _ = world
    found = level(lab)
    assert found[:4] == (0, None, None, None)
    assert found[4] == (
        "It is unknown whether the control's edge_bps changed when the variant began: no trade of the control is from "
        "before 2026-11-01 00:00 UTC."
    )


@pytest.mark.parametrize(
    ("shift", "says"), [(0.0, "no sign that the variant influences"), (12.0, "control's level changed")]
)
def test_the_controls_level_before_and_since_is_compared_whatever_the_order_of_files(
    shift: float, says: str
) -> None:
    with open_lab() as whole, open_lab() as parts:
        live = Live(whole)
        earlier = before(shift)
        whole.ingest(*earlier, *live.reports)
        tick(whole)
        found = level(whole)
        assert found[0] == 500
        control = ~live.variant
        expected = live.edge[control].mean() - np.mean([item["edge_bps"] for item in earlier])
        assert found[1] == pytest.approx(expected)
        assert found[2] < found[1] < found[3]
        assert says in found[4]
        register(parts)
        for some in (live.reports[:400], earlier[250:], live.reports[400:], earlier[:250]):
            parts.ingest(*some)
            tick(parts)
        for name in ("series_cells", "diagnostics", "interval_path"):
            query = f"SELECT * FROM {name} ORDER BY ALL"
            assert parts.rows(query) == whole.rows(query), name


def test_a_split_that_hangs_on_the_market_is_found_within_markets_and_not_as_a_whole() -> None:
    with open_lab() as lab:
        live = Live(lab)
        live.variant = live.market < 6  # whole markets go to the variant, a fifth of them
        lab.ingest(*(live._report(number) for number in range(TRADES)))
        tick(lab)
        assert lab.rows("SELECT bool_or(alarm) FROM sample_ratio") == [(False,)]
        within = dict(lab.rows("SELECT dimension, bool_or(alarm) FROM sample_ratio_within GROUP BY ALL"))
        assert within == {"market": True, "hour": False}
        off = lab.rows("SELECT dimension, value FROM sample_ratio_groups WHERE stands")
        assert off and all(dimension == "market" for dimension, _ in off)
        ratio = sample_ratios(lab.connection)["exp"]
        assert ratio.within == "markets", "so a verdict is kept away from then on"
        ((since,),) = lab.rows("SELECT min(as_of) FROM sample_ratio_within WHERE alarm")
        assert ratio.alarm_since == since
        counted = lab.rows(
            "SELECT sum(n_control), sum(n_variant) FROM sample_ratio_groups WHERE dimension = 'hour'"
        )
        assert counted == [((~live.variant).sum(), live.variant.sum())]


def test_a_fall_of_the_variant_is_noticed_by_the_change_detector() -> None:
    with open_lab() as lab:
        live = Live(lab)
        live.edge = np.where(live.variant & (live.second > 30 * 3600), live.edge - 6, live.edge)
        lab.ingest(*(live._report(number) for number in range(TRADES)))
        tick(lab)
        ((first, since),) = lab.rows(
            "SELECT min(as_of), arg_min(since, as_of) FROM drift WHERE alarm AND metric = 'edge_bps'"
        )
        assert START + timedelta(hours=30) < first < START + timedelta(hours=60)
        assert abs(since - (START + timedelta(hours=30))) < timedelta(hours=8)
