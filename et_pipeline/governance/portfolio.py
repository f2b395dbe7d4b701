"""Multiple testing: which discoveries stand when all experiments are counted, in the portfolio and in each family.

The tables `portfolio` and `families` are a function of plans and verdicts, and of two settings of the deployment. They
prevent no verdict: a verdict is about one experiment alone, and these tables say whether it is still convincing among
many experiments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common import text
from et_pipeline.common.sql import load, replace_rows, row_dicts
from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.shrinkage import james_stein
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings

DAY_US = 86_400_000_000


class Member(NamedTuple):
    """One experiment and its figures for the count; times are naive UTC, figures are those of the primary metric.

    Attributes:
        experiment_id: The experiment.
        family: The family of variants with which it is judged; None where the plan names none.
        sample: Whether its reports are generated; such experiments are counted separately.
        ends_at: End of its window.
        verdict: Its verdict; None before there is one.
        closed_until: End of its newest closed block; None before the first.
        as_of: The moment for which the figures hold: the verdict, or the newest closed block.
        metric: The primary metric.
        n_pairs: Number of pairs from which the figures are computed.
        mean_uplift: Mean uplift.
        se: Its standard error.
        ci_lower: Lower end of the interval.
        ci_upper: Upper end of the interval.
        evidence: The mixture's e-value, which is large for uplifts in both directions.
    """

    experiment_id: str
    family: str | None
    sample: bool
    ends_at: datetime
    verdict: str | None
    closed_until: datetime | None
    as_of: datetime | None
    metric: str | None
    n_pairs: int | None
    mean_uplift: float | None
    se: float | None
    ci_lower: float | None
    ci_upper: float | None
    evidence: float | None

    @property
    def e_value(self) -> float:
        """Evidence against "not better": the mixture's e-value where the estimate is positive, 0 elsewhere.

        If the variant is not better, its expectation is at most 1 at every stopping time. This would not be true for
        twice the value, although the mixture is symmetric.
        """
        return (self.evidence or 0.0) if (self.mean_uplift or 0.0) > 0 else 0.0

    @property
    def better(self) -> bool:
        """Whether its verdict is `variant_better`, a discovery."""
        return self.verdict == "variant_better"


def portfolio_rows(members: Sequence[Member], *, delta: float, window_us: int) -> list[dict[str, Any]]:
    """The rows of `portfolio`.

    All experiments are counted that have a closed block and whose planned window overlaps the trailing window, which
    ends with the newest closed block of any experiment. This depends on plans alone, so the result of an experiment
    cannot remove it from the count. Only experiments with the verdict `variant_better` can stand, so the expected share
    of false discoveries among those that stand is at most `delta`.

    Args:
        members: Every registered experiment, in order of the id.
        delta: Largest expected share of false discoveries among those that stand.
        window_us: Length of the trailing window, in microseconds.
    """
    moment = max((member.closed_until for member in members if member.closed_until), default=None)
    found: dict[str, dict[str, Any]] = {}
    for sample in (False, True):
        counted = [
            member
            for member in members
            if member.sample == sample
            and member.as_of is not None
            and moment is not None
            and member.ends_at > moment - timedelta(microseconds=window_us)
        ]
        judged = _judged(counted, delta)
        for member in counted:
            found[member.experiment_id] = {
                "counted": len(counted),
                **judged.get(member.experiment_id, NOT_BETTER),
            }
    rows = [
        {
            "experiment_id": member.experiment_id,
            "family": member.family,
            "verdict": member.verdict,
            "as_of": member.as_of,
            "e_value": member.e_value,
            **found.get(member.experiment_id, NOT_COUNTED),
            "sample": member.sample,
            "delta": delta,
            "window_us": window_us,
        }
        for member in members
    ]
    return [row | {"sentence": discovery_sentence(row)} for row in rows]


def family_rows(members: Iterable[Member], *, delta: float) -> list[dict[str, Any]]:
    """The rows of `families`: the variants of each family; those with a closed block are counted together."""
    rows = []
    named = sorted(
        (member for member in members if member.family is not None), key=lambda member: str(member.family)
    )
    for _, group in groupby(named, key=lambda member: member.family):
        family = list(group)
        measured = [member for member in family if member.as_of is not None]
        judged = _judged(measured, delta)
        shrunk = _shrunk(measured)
        for member in family:
            figures = member._asdict()
            rows.append(
                {name: figures[name] for name in SHOWN}
                | {"e_value": member.e_value, "counted": len(measured), "delta": delta}
                | judged.get(member.experiment_id, NOT_BETTER)
                | {"shrunk_uplift": shrunk.get(member.experiment_id)}
            )
    return rows


SHOWN = (
    "family", "experiment_id", "verdict", "as_of", "metric", "n_pairs", "mean_uplift", "se", "ci_lower", "ci_upper",
)  # fmt: skip
"""The columns of a variant that a family's page shows unchanged."""
NOT_BETTER = {"rank": None, "threshold": None, "stands": False}
"""The columns of an experiment without the verdict `variant_better`."""
NOT_COUNTED = {"counted": None, "rank": None, "threshold": None, "stands": None}
"""The columns of an experiment that has no closed block yet, or whose window ended before the trailing window."""


def _judged(counted: Sequence[Member], delta: float) -> dict[str, dict[str, Any]]:
    """e-BH over the discoveries among some experiments, all of them counted."""
    better = [member for member in counted if member.better]
    found = e_bh([member.e_value for member in better], delta=delta, total=len(counted))
    columns = (found.rank.tolist(), found.threshold.tolist(), found.stands.tolist())
    return {
        member.experiment_id: dict(zip(("rank", "threshold", "stands"), values, strict=True))
        for member, *values in zip(better, *columns, strict=True)
    }


def _shrunk(measured: Sequence[Member]) -> dict[str, float]:
    """The James–Stein estimate of the uplift of each variant that has an estimate."""
    known = [
        (member.experiment_id, member.mean_uplift, member.se)
        for member in measured
        if member.mean_uplift is not None and member.se
    ]
    names, means, ses = zip(*known, strict=True) if known else ((), (), ())
    return dict(zip(names, james_stein(means, ses).tolist(), strict=True))


def discovery_sentence(row: dict[str, Any]) -> str | None:
    """A sentence about one discovery, from its row of `portfolio`; None for an experiment that is not a discovery."""
    if row["verdict"] != "variant_better":
        return None
    if row["counted"] is None:
        return (
            "This experiment is no longer counted together with others: its window ended more than "
            f"{span(row['window_us'])} ago."
        )
    time = f"that ran in the last {span(row['window_us'])}"
    where = f"as the only experiment {time}"
    if row["counted"] > 1:
        where = f"when all {row['counted']} experiments {time} are counted"
    evidence = (
        f"its e-value is {text.number(row['e_value'], 3)}, and {text.number(row['threshold'], 3)} is needed"
    )
    if row["stands"]:
        return f"The discovery stands {where}: {evidence}."
    return (
        f"The discovery does not stand {where}: {evidence}. Among many experiments, luck alone makes some look better. "
        "The evidence here is too weak to exclude luck."
    )


def summary(rows: Sequence[dict[str, Any]]) -> str | None:
    """The portfolio in one sentence, from the rows of `portfolio`; None where nothing is counted.

    Experiments with sample data are mentioned only if there are no others.
    """
    counted = [row for row in rows if row["counted"] is not None]
    counted = [row for row in counted if not row["sample"]] or counted
    if not counted:
        return None
    better = [row for row in counted if row["verdict"] == "variant_better"]
    stand = sum(row["stands"] for row in better)
    total, time = counted[0]["counted"], span(counted[0]["window_us"])
    if not better:
        return f"None of the {total} experiments that ran in the last {time} has the verdict variant_better."
    return (
        f"{len(better)} of the {total} experiments that ran in the last {time} "
        f"{'has' if len(better) == 1 else 'have'} the verdict variant_better. {stand} of these "
        f"{'discoveries stands' if stand == 1 else 'discoveries stand'} when all experiments are counted together."
    )


def span(microseconds: int) -> str:
    """The length of the window in the words of a sentence."""
    days, rest = divmod(microseconds, DAY_US)
    return text.duration(microseconds) if rest else "day" if days == 1 else f"{days} days"


def refresh(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> dict[str, str]:
    """Updates `portfolio` and `families` from the verdicts, in the caller's transaction.

    Args:
        connection: The warehouse.
        settings: The deployment's `portfolio_delta` and `portfolio_window_us`.
        now: The time with which a change of these settings is recorded in the audit log.

    Returns:
        For each discovery a sentence about it.
    """
    delta, window_us = settings.portfolio_delta, settings.portfolio_window_us
    _record_rule(connection, now, delta, window_us)
    members = [Member(**row) for row in row_dicts(connection, load(__package__, "members"))]
    rows = portfolio_rows(members, delta=delta, window_us=window_us)
    replace_rows(connection, "portfolio", rows)
    replace_rows(connection, "families", family_rows(members, delta=delta))
    return {row["experiment_id"]: row["sentence"] for row in rows if row["sentence"]}


def _record_rule(connection: duckdb.DuckDBPyConnection, now: datetime, delta: float, window_us: int) -> None:
    """Records in the audit log if the deployment's settings changed."""
    rule = {"delta": delta, "window_days": window_us / DAY_US}
    (found,) = connection.execute(
        "SELECT arg_max(detail, seq) FROM audit_log WHERE action = 'portfolio_rule'"
    ).fetchall()
    before = json.loads(found[0])["rule"] if found[0] else None
    if before != rule:
        audit.append(connection, now, None, "portfolio_rule", detail={"rule": rule, "before": before})
