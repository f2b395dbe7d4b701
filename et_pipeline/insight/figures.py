"""Makes the charts of an experiment's page from its rows."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import numpy as np

from et_pipeline.common import text
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.contracts.series import REPLAY_GAP
from et_pipeline.governance.judgement import Standing
from et_pipeline.insight import charts
from et_pipeline.insight.charts import Bar, Chart, Series
from et_pipeline.insight.findings import Findings, shown_path
from et_pipeline.insight.read import ExperimentData, Row

SMALL = (430, 220)
"""Width and height of the charts of which two are beside each other."""


class Figure(NamedTuple):
    """One chart of a page.

    Attributes:
        name: Prefix of every id in it, unique on the page.
        title: Its heading.
        note: How to read it.
        description: Its content in words, for people who cannot see it.
        source: Tables and columns in which its figures are found.
        wide: The chart; it is also used for narrow screens if there is no other.
        narrow: The chart for narrow screens, or None.
    """

    name: str
    title: str
    note: str
    description: str
    source: str
    wide: Chart
    narrow: Chart | None = None


def series_of(rows: list[Row]) -> Series:
    """One metric's rows of `interval_path` as arrays; unknown and infinite ends are NaN."""

    def column(name: str) -> np.ndarray:
        values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    return Series(_times(rows, "as_of"), column("mean_uplift"), column("ci_lower"), column("ci_upper"))


def _times(rows: list[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], dtype="datetime64[us]")


def path_figures(data: ExperimentData, findings: Findings) -> dict[str, Figure]:
    """The interval path of each metric with at least two points; for the primary also a chart for narrow screens."""
    decided = data.verdict["decided_as_of"]
    found = {}
    for standing in findings.standings:
        rows = shown_path(data, findings, standing.name)
        if len(rows) < 2:
            continue
        series = series_of(rows)

        def chart(width: int, height: int, series: Series = series, standing: Standing = standing) -> Chart:
            return charts.path_chart(series, unit=standing.unit, width=width, height=height, decided=decided,
                                     limits=_limits(standing))  # fmt: skip

        primary = standing.role == "primary"
        found[standing.name] = Figure(
            f"path-{standing.name}",
            f"Interval path of {standing.name}",
            "",
            _described(standing, series, decided),
            "interval_path.mean_uplift, ci_lower, ci_upper by as_of",
            chart(880, 320) if primary else chart(*SMALL),
            chart(400, 300) if primary else None,
        )
    return found


def gap_figure(data: ExperimentData, findings: Findings) -> Figure | None:
    """The path of the replay gap in the primary metric; None before it has two points."""
    head, replay = findings.headline, findings.replay
    rows = [] if head is None else shown_path(data, findings, head.name, REPLAY_GAP.name)
    if head is None or replay is None or len(rows) < 2:
        return None
    series = series_of(rows)
    limits = [] if replay.margin is None else [-replay.margin, replay.margin]

    def chart(width: int, height: int) -> Chart:
        return charts.path_chart(
            series, unit=head.unit, width=width, height=height, limits=limits, what="gap"
        )

    last = text.interval(float(series.lower[-1]), float(series.upper[-1]), head.unit)
    return Figure(
        "replay-gap",
        f"Error of the backtester in {head.name} (replay gap)",
        "The replayed control minus the live control, after every block. Zero means that the replay is true.",
        f"The chart has {len(rows)} block ends. The newest interval of the gap is {last}.",
        "replay_path.mean_uplift, ci_lower, ci_upper by as_of",
        chart(880, 260),
        chart(400, 260),
    )


def _limits(standing: Standing) -> list[float]:
    if standing.limit is not None:
        return [standing.limit]
    return [] if standing.equal is None else [-standing.equal, standing.equal]


def _described(standing: Standing, series: Series, decided: datetime | None) -> str:
    last = text.interval(float(series.lower[-1]), float(series.upper[-1]), standing.unit)
    words = f"The chart has {len(series.as_of)} block ends. The newest interval of the mean uplift is {last}."
    return words if decided is None else f"{words} The verdict was reached at {text.moment(decided)} UTC."


def forest_figure(findings: Findings) -> Figure | None:
    """Every metric's interval with its margin; None before there is any interval."""
    bars = [
        Bar(
            f"{standing.name} · {standing.role}",
            text.interval(point["ci_lower"], point["ci_upper"], standing.unit),
            point["mean_uplift"],
            point["ci_lower"],
            point["ci_upper"],
            standing.limit,
            standing.equal,
            standing.tone,
        )
        for standing in findings.standings
        if (point := standing.point)["as_of"] is not None
    ]
    if not bars:
        return None
    return Figure(
        "forest",
        "Every metric against its margin",
        "Each metric has its own scale, with zero in the middle. Values to the right are better for the variant. "
        "A dashed mark is the margin of a guardrail. A grey field is the equivalence margin of the plan.",
        "; ".join(f"{bar.label}: {bar.text}" for bar in bars),
        "interval_path.mean_uplift, ci_lower, ci_upper; "
        "experiment_metrics.non_inferiority_margin, equivalence_margin",
        charts.forest_chart(bars, width=880),
        charts.forest_chart(bars, width=400),
    )


def breakdown_figures(data: ExperimentData) -> list[Figure]:
    """The uplift within each value of each dimension of the plan's breakdowns, one chart per dimension."""
    found = []
    for number, (dimension, of_dimension) in enumerate(
        groupby(data.tables["breakdowns"], key=lambda row: row["dimension"])
    ):
        rows = list(of_dimension)
        unit = metric_of(rows[0]["metric"]).unit
        bars = [
            Bar(
                f"{_value(row)} · {text.percent(row['share'])}",
                text.interval(row["ci_lower"], row["ci_upper"], unit)
                + (" · stands" if row["stands"] else ""),
                row["mean_uplift"],
                row["ci_lower"],
                row["ci_upper"],
                None,
                None,
                "calm" if not row["stands"] else "good" if row["mean_uplift"] > 0 else "bad",
            )
            for row in rows
        ]
        differ = rows[0]["heterogeneity_p_value"]
        found.append(
            Figure(
                f"breakdown-{number}",
                f"By {dimension.removeprefix('label.').replace('_', ' ')}",
                "There is only one value, so there is nothing to compare."
                if differ is None
                else f"{'The values differ' if differ <= 0.05 else 'There is no sign that the values differ'} (p-value "
                f"{text.number(differ, 2)}). The percentage beside each value is its share of the sample.",
                "; ".join(f"{bar.label}: {bar.text}" for bar in bars),
                "breakdowns",
                charts.multiples_chart(bars, width=SMALL[0]),
            )
        )
    return found


def _value(row: Row) -> str:
    """A value of a dimension, shortened for a chart."""
    value = f"{row['value']}:00 UTC" if row["dimension"] == "hour" else str(row["value"])
    if row["n_values"] > 1:
        return f"{text.number(row['n_values'])} others"
    return value if len(value) <= 24 else f"{value[:23]}…"


def sample_figures(data: ExperimentData) -> list[Figure]:
    """The charts of single uplifts, pairs over time, traffic split and change detector, as far as there are figures."""
    found = []
    if data.uplifts:
        found.append(_uplifts(data))
    if data.pairs_over_time:
        rows = data.pairs_over_time
        counts = np.array([row["pairs"] for row in rows], dtype=np.int64)
        samples_only = data.experiment["matching"] == "arms"
        found.append(
            Figure(
                "pairs",
                "Pairs to look at, over time" if samples_only else "Pairs over time",
                "The number of matched pairs in equal spans of time."
                + " These pairs decide nothing." * samples_only,
                f"There are {text.number(int(counts.sum()))} pairs. The fullest span has "
                f"{text.number(int(counts.max()))} of them.",
                "pairs.pair_time",
                charts.counts_chart(_times(rows, "start"), counts, width=SMALL[0], height=SMALL[1]),
            )
        )
    if len(data.tables["sample_ratio"]) > 1:
        found.append(_ratio(data.tables["sample_ratio"]))
    for metric in sorted({row["metric"] for row in data.tables["drift"]}):
        rows = [row for row in data.tables["drift"] if row["metric"] == metric]
        if len(rows) > 1:
            found.append(_drift(metric, rows))
    return found


def _uplifts(data: ExperimentData) -> Figure:
    rows = data.uplifts
    metric = next(row["metric"] for row in data.tables["experiment_metrics"] if row["role"] == "primary")
    counts = np.array([row["pairs"] for row in rows], dtype=np.int64)
    won = next(row["share_won"] for row in data.tables["diagnostics"] if row["metric"] == metric)
    return Figure(
        "uplifts",
        f"Single uplifts of {metric}",
        "The spread of the pairs. The first and the last bar contain all pairs beyond. The interval is for their mean.",
        f"There are {text.number(int(counts.sum()))} pairs. {text.percent(won)} of them have an uplift above 0.",
        f"pairs.{metric}_uplift, diagnostics.share_won",
        charts.histogram_chart(
            np.array([row["start"] for row in rows]),
            counts,
            unit=metric_of(metric).unit,
            width=SMALL[0],
            height=SMALL[1],
        ),
    )


def _ratio(rows: list[Row]) -> Figure:
    observed = np.array([np.nan if row["observed_share"] is None else row["observed_share"] for row in rows])
    return Figure(
        "ratio",
        "Traffic split",
        "The variant's share of the opportunities, and the planned share.",
        f"The share is {text.percent(rows[-1]['observed_share'])}, and {text.percent(rows[-1]['planned_share'])} is "
        "planned.",
        "sample_ratio.observed_share, planned_share",
        charts.line_chart(_times(rows, "as_of"), 100 * observed, label="variant, %",
                          reference=100 * rows[-1]["planned_share"], reference_label="planned",
                          width=SMALL[0], height=SMALL[1]),
    )  # fmt: skip


def _drift(metric: str, rows: list[Row]) -> Figure:
    evidence = np.array([row["log_evidence"] for row in rows], dtype=np.float64)
    step = max(1, len(rows) // charts.POINTS)
    bar = text.number(-rows[-1]["margin"] or 0.0)
    return Figure(
        f"drift-{metric}",
        f"Change detector on {metric}",
        f"The evidence (natural logarithm) that the mean fell below {bar} at some time.",
        "The detector raises an alarm."
        if any(row["alarm"] for row in rows)
        else "The detector raises no alarm.",
        "drift.log_evidence, threshold, margin",
        charts.line_chart(_times(rows, "as_of")[::-step][::-1], evidence[::-step][::-1], label="log evidence",
                          reference=rows[-1]["threshold"], reference_label="alarm",
                          width=SMALL[0], height=SMALL[1]),
    )  # fmt: skip
