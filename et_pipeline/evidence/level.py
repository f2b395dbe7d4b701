"""Did the control's own level change when the variant began? If it did, the variant may influence its control.

The random split makes the arms comparable, but not independent of each other: a variant that takes the best prices, or
    moves the market, changes what the control earns. Then the control is not what it would be without the experiment. A
    comparison with the control's trades from before the experiment shows this. The result is a hint and prevents no
    verdict, since markets change for other reasons too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from et_pipeline.common import text
from et_pipeline.common.sql import load
from et_pipeline.contracts.series import BEFORE
from et_pipeline.evidence.paths import PlannedSeries
from et_pipeline.inference.ratio import RatioCells, ratio_path

if TYPE_CHECKING:
    import duckdb


def control_level(connection: duckdb.DuckDBPyConnection, series: PlannedSeries) -> dict[str, Any]:
    """The columns `control_...` of `diagnostics`: the control's mean since the start minus its mean before.

    Both are ratios of totals of one arm, at different times, so their difference has the two-way, serially robust
    variance of `inference.ratio`. Its interval is valid at every block end, for ever. There is no
    adjustment for market and hour, since the level itself is of interest.
    """
    frame = pl.DataFrame(
        connection.sql(load(__package__, "control_level"), params=series.key | {"before": BEFORE})
    )
    n_before, n_since = (int(frame[name].sum()) for name in ("n_before", "n_since"))
    moved: tuple[float, float, float] | None = None
    if n_before and n_since:
        cells = RatioCells(
            frame["block"].to_numpy(),
            frame["market"].to_numpy(),
            frame.select("n_since", "n_before").to_numpy(),
            frame.select("sum_since", "weight_since", "sum_before", "weight_before").to_numpy(),
        )
        last = ratio_path(cells, alpha=series.experiment.alpha, g=series.experiment.g).at(-1)
        ends = float(last.mean), float(last.ci_lower), float(last.ci_upper)
        moved = ends if last.ready and np.isfinite(ends).all() else None
    mean, lower, upper = moved or (None, None, None)
    return {
        "control_trades_before": n_before,
        "control_moved": mean,
        "control_moved_lower": lower,
        "control_moved_upper": upper,
        "control_sentence": _sentence(series, n_before, n_since, moved),
    }


def _sentence(
    series: PlannedSeries, n_before: int, n_since: int, moved: tuple[float, float, float] | None
) -> str:
    """The result of the comparison in words."""
    began = f"{series.experiment.starts_at:%Y-%m-%d %H:%M} UTC"
    name = series.terms.name
    if not n_before:
        return (
            f"It is unknown whether the control's {name} changed when the variant began: no trade of the control is "
            "from "
            f"before {began}."
        )
    trades = f"{n_since:,} trades since {began}, {n_before:,} trades before"
    if moved is None:
        return f"It is not known yet whether the control's {name} changed when the variant began ({trades})."
    mean, lower, upper = moved
    unit, decimals = series.terms.metric.unit, text.decimals_of(lower, upper, mean)
    found = (
        f"Since the variant began, the control's own {name} differs by {text.signed(mean, decimals)} {unit} from "
        f"its mean before ({text.between(lower, upper, unit, decimals)}; {trades})"
    )
    if lower <= 0.0 <= upper:
        return f"{found}. There is no sign that the variant influences the control."
    return (
        f"{found}. So the control's level changed. Either the variant influences the control, or the markets "
        "changed. If the "
        "variant influences the control, the uplift compares the variant with a control that the experiment changed."
    )
