"""Is the replay true? The table `replay_fidelity`, from the newest closed rows of the paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from et_pipeline.common.sql import among, append, load, row_dicts
from et_pipeline.contracts.series import LIKE_FOR_LIKE, REPLAY_GAP, UPLIFT
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.inference.fidelity import GAP, gap_ends, replay_state

if TYPE_CHECKING:
    import duckdb

FIGURES = ("mean_uplift", "se", "ci_lower", "ci_upper")


def write_fidelity(connection: duckdb.DuckDBPyConnection, shadow: Sequence[RegisteredExperiment]) -> None:
    """Writes the rows of experiments in shadow that changed, which can happen without new cells when blocks close.

    Args:
        connection: The warehouse, inside the caller's transaction.
        shadow: The experiments.
    """
    inside = among(item.experiment_id for item in shadow)
    rows: list[dict[str, Any]] = []
    newest = {
        (row["experiment_id"], row["comparison"], row["metric"]): row
        for row in row_dicts(connection, load(__package__, "newest_closed", inside=inside))
    }
    for item in shadow:
        for terms in item.metrics:
            uplift = newest.get((item.experiment_id, UPLIFT.name, terms.name))
            if uplift is None:
                continue
            of = {
                comparison.name: newest.get((item.experiment_id, comparison.name, terms.name))
                for comparison in (REPLAY_GAP, LIKE_FOR_LIKE)
            }
            like, gap, margin = of[LIKE_FOR_LIKE.name], of[REPLAY_GAP.name], item.gap_margin(terms)
            coverage = like["n_pairs"] / uplift["n_pairs"] if like else 0.0
            lower, upper = gap_ends(**{name: gap[name] for name in GAP}) if gap else (None, None)
            state = replay_state(coverage, lower, upper, margin)
            rows += [
                {
                    "experiment_id": item.experiment_id,
                    "metric": terms.name,
                    "comparison": name,
                    "as_of": uplift["as_of"],
                    "n_pairs": row["n_pairs"] if row else 0,
                    "coverage": coverage,
                    **{figure: row and row[figure] for figure in FIGURES},
                    "margin": margin,
                    "state": state,
                }
                for name, row in of.items()
            ]
    stored = pl.DataFrame(connection.sql(f"SELECT * FROM replay_fidelity WHERE {inside}"))
    found = pl.DataFrame(rows, schema=stored.schema).sort(stored.columns)
    if not found.equals(stored.sort(stored.columns)):
        connection.execute(f"DELETE FROM replay_fidelity WHERE {inside}")
        append(connection, "replay_fidelity", found)
