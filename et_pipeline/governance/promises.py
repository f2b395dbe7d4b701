"""After a promotion: does the promoted strategy keep the promised uplift? For experiments that follow another one.

In such a plan the control is the promoted strategy, which trades now, and the variant is the strategy that it replaced,
which is only replayed. So the effect of the promotion is minus the uplift. The table `promises` is a function of plans
and verdicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from et_pipeline.common import text
from et_pipeline.common.sql import load, replace_rows, row_dicts
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.contracts.series import LIKE_FOR_LIKE
from et_pipeline.governance.judgement import Reading, loads

if TYPE_CHECKING:
    import duckdb

Ends = tuple[float, float]
State = Literal["kept", "not_kept", "not_yet", "nothing_promised"]
WORDS = {"kept": "promise kept", "not_kept": "promise not kept"}
"""The states that are shown in a list of experiments, in words."""


def promise_state(promised: Ends | None, observed: Ends | None) -> State:
    """Whether a promise is kept.

    If the uplift did not change, `not_kept` is possible only if one of the two intervals misses the truth on one side.
    The probability of that is at most alpha/2 of the one plan plus alpha/2 of the other, over all experiments that are
    begun. If the promoted strategy is no better than the one that it replaced, `kept` has a probability of at most
    alpha/2 of the plan that follows.

    Args:
        promised: The interval of the verdict before the promotion; None if there is no such verdict.
        observed: The interval of the same uplift since the promotion; None if nothing is known yet.

    Returns:
        `not_kept` if the whole observed interval lies below the promised one; otherwise `kept` if it lies above
        zero; otherwise `not_yet`.

    >>> [promise_state((3.0, 6.0), observed) for observed in ((1.0, 4.0), (1.0, 2.5), (-1.0, 4.0))]
    ['kept', 'not_kept', 'not_yet']
    """
    if promised is None:
        return "nothing_promised"
    if observed is None:
        return "not_yet"
    if observed[1] < promised[0]:
        return "not_kept"
    return "kept" if observed[0] > 0 else "not_yet"


def refresh(connection: duckdb.DuckDBPyConnection) -> None:
    """Updates `promises` from the verdicts, in the caller's transaction."""
    rows = row_dicts(connection, load(__package__, "followers"))
    replace_rows(connection, "promises", [_row(**row) for row in rows])


def _row(
    experiment_id: str, follows: str, metric: str, verdict: str | None, contradicted: bool, promise: str | None,
    standing: str | None,
) -> dict[str, Any]:  # fmt: skip
    stands = verdict == "variant_better" and not contradicted
    promised = loads(promise).promised if stands else None
    seen = loads(standing).observed
    observed = seen and seen._replace(
        mean_uplift=-seen.mean_uplift, ci_lower=-seen.ci_upper, ci_upper=-seen.ci_lower
    )
    state = promise_state(_ends(promised), _ends(observed))
    return {
        "experiment_id": experiment_id,
        "follows": follows,
        "metric": metric,
        "state": state,
        **_columns("promised", promised),
        **_columns("observed", observed),
        "sentence": _sentence(follows, metric, state, promised, observed, verdict, contradicted),
    }


def _ends(reading: Reading | None) -> Ends | None:
    return None if reading is None else (reading.ci_lower, reading.ci_upper)


def _columns(name: str, reading: Reading | None) -> dict[str, Any]:
    names = ("as_of", "comparison", "uplift", "lower", "upper")
    return dict(zip((f"{name}_{part}" for part in names), reading or [None] * len(names), strict=True))


def _sentence(
    follows: str,
    metric: str,
    state: State,
    promised: Reading | None,
    observed: Reading | None,
    verdict: str | None,
    contradicted: bool,
) -> str:
    """The state of a promise in a sentence for people."""
    if promised is None:
        why = f"its verdict is {verdict}" if verdict else "it has no verdict yet"
        if contradicted:
            why = "its announced verdict no longer follows from the evidence"
        elif verdict == "variant_better":
            why = "its verdict has no interval"
        return f"{follows} promises nothing: {why}."
    unit = metric_of(metric).unit
    promise = f"{follows} promised an uplift of {metric} {_between(promised, unit)}."
    unclear = "It is not shown yet whether the promise is kept."
    if observed is None:
        return f"{unclear} {promise} Too little is known since the promotion."
    seen = f"Since the promotion the uplift is {_between(observed, unit)}, up to {text.moment(observed.as_of)} UTC."
    if state == "kept":
        return f"The promise is kept so far. {promise} {seen}"
    if state == "not_kept":
        return f"The promise is not kept. {promise} {seen} The whole interval lies below the promised one."
    return f"{unclear} {promise} {seen} There may still be no uplift at all."


def _between(reading: Reading, unit: str) -> str:
    comparison = "like for like" if reading.comparison == LIKE_FOR_LIKE.name else "against live trades"
    return f"{text.between(reading.ci_lower, reading.ci_upper, unit)} ({comparison})"
