"""Plans → experiments: a plan is registered once, with its tuning, and frozen from then on."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.sql import insert_row
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.plan import AMENDABLE, FROZEN, Plan, Refusal, overlapping, read_plans
from et_pipeline.inference.boundary import solve_g
from et_pipeline.inference.twoway import planned_clusters
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings


class Registration(NamedTuple):
    """What one look at the plans changed.

    Attributes:
        registered: Experiments registered now.
        amended: Experiments of which an open key changed now.
        refused: Every refusal that stands, new or not.
    """

    registered: list[str]
    amended: list[str]
    refused: list[Refusal]


def register(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> Registration:
    """Registers new plans, applies allowed amendments, refuses the rest; one transaction.

    A refused plan never stops the others. Of two new plans that overlap on one variant, the one that
    starts later is refused (ties: the later id); a registered one always stays.

    Args:
        connection: The warehouse.
        settings: Where the plans stand and which mode is allowed.
        now: The moment of registration.
    """
    plans, refused = read_plans(settings.experiments_dir)
    with transaction(connection):
        known = registered_plans(connection)
        accepted: list[Plan] = list(known.values())
        registered, amended = [], []
        for path, plan in sorted(plans.items(), key=lambda item: (item[1].starts_at, item[1].experiment_id)):
            present = known.get(plan.experiment_id)
            if present is not None:
                problems = _forbidden_changes(path, present, plan)
                refused.extend(problems)
                if not problems and present != plan:
                    _amend(connection, now, present, plan)
                    amended.append(plan.experiment_id)
                continue
            problem = _inadmissible(path, plan, accepted, settings)
            if problem is not None:
                refused.append(problem)
                continue
            _insert(connection, now, path, plan)
            accepted.append(plan)
            registered.append(plan.experiment_id)
        _record_refusals(connection, now, refused)
    return Registration(registered, amended, refused)


def registered_plans(connection: duckdb.DuckDBPyConnection) -> dict[str, Plan]:
    """Every registered plan as it is in force, by experiment id."""
    rows = connection.execute("SELECT experiment_id, plan FROM experiments ORDER BY experiment_id").fetchall()
    return {
        identifier: Plan.model_validate_json(text, strict=False, context=FROZEN) for identifier, text in rows
    }


def expected_clusters(plan: Plan) -> float:
    """Effective clusters the tuning is solved for: the plan's own number, or what its blocks let expect."""
    return plan.planned_clusters or planned_clusters(plan.planned_blocks)


def tuning(plan: Plan) -> float:
    """The tuning `g` of a plan's intervals, solved once and frozen with the plan."""
    return solve_g(expected_clusters(plan), plan.alpha)


def _inadmissible(path: str, plan: Plan, accepted: list[Plan], settings: Settings) -> Refusal | None:
    """Why a well-formed new plan may still not be registered, or None."""
    if plan.mode == "limited_live" and settings.mode == "shadow_only":
        return Refusal(
            path,
            plan.experiment_id,
            "mode",
            "'limited_live'",
            "this deployment is shadow_only; a human must set ET_MODE=limited_live to allow it",
        )
    other = overlapping(plan, accepted)
    if other is not None:
        return Refusal(
            path,
            plan.experiment_id,
            "variant",
            plan.variant.strategy_id,
            f"its variant is already watched by {other.experiment_id} at the same time; "
            "allowed: one experiment a variant at a time",
        )
    return None


def _forbidden_changes(path: str, present: Plan, plan: Plan) -> list[Refusal]:
    """What a changed file may not change after EXPERIMENT_STARTED."""
    before, after = present.frozen, plan.frozen
    problems = [
        Refusal(
            path,
            plan.experiment_id,
            key,
            repr(after.get(key, getattr(plan, key)))[:120],
            f"frozen since EXPERIMENT_STARTED; it was {before.get(key, getattr(present, key))!r}, and the old "
            "plan stays in force: a changed plan needs a new experiment_id",
        )
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
    if plan.ends_at > present.ends_at:
        problems.append(
            Refusal(
                path,
                plan.experiment_id,
                "ends_at",
                plan.ends_at.isoformat(),
                f"may only become earlier than {present.ends_at.isoformat()} after EXPERIMENT_STARTED",
            )
        )
    if plan.traffic_split_pct > present.traffic_split_pct:
        problems.append(
            Refusal(
                path,
                plan.experiment_id,
                "traffic_split_pct",
                f"{plan.traffic_split_pct:g}",
                f"may only become lower than {present.traffic_split_pct:g} after EXPERIMENT_STARTED",
            )
        )
    return problems


def _insert(connection: duckdb.DuckDBPyConnection, now: datetime, path: str, plan: Plan) -> None:
    row = {
        **_columns(plan),
        "expected_clusters": expected_clusters(plan),
        "g": tuning(plan),
        "planned_blocks": plan.planned_blocks,
        "on_no_trade": plan.matching.on_no_trade,
        "path": path,
        "registered_at": naive_utc(now),
    }
    insert_row(connection, "experiments", row)
    connection.executemany(
        "INSERT INTO experiment_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            [
                plan.experiment_id,
                metric.name,
                metric.role,
                metric.effective_estimator,
                metric.non_inferiority_margin,
                metric.equivalence_margin,
                *(metric.winsor or (None, None)),
            ]
            for metric in plan.metrics
        ],
    )
    audit.append(
        connection,
        now,
        plan.experiment_id,
        "plan_registered",
        detail={"plan_hash": plan.plan_hash, "path": path, "plan": plan.model_dump(mode="json")},
    )


def _amend(connection: duckdb.DuckDBPyConnection, now: datetime, present: Plan, plan: Plan) -> None:
    row = _columns(plan)
    assignments = ", ".join(f"{name} = ?" for name in row)
    connection.execute(
        f"UPDATE experiments SET {assignments} WHERE experiment_id = ?", [*row.values(), plan.experiment_id]
    )
    before, after = (p.model_dump(mode="json", include=set(AMENDABLE)) for p in (present, plan))
    changes = {key: [before[key], after[key]] for key in AMENDABLE if before[key] != after[key]}
    audit.append(connection, now, plan.experiment_id, "plan_amended", detail={"changes": changes})


def _columns(plan: Plan) -> dict[str, Any]:
    """The plan as columns of `experiments`, without what is fixed at registration."""
    return {
        "experiment_id": plan.experiment_id,
        "plan_hash": plan.plan_hash,
        "title": plan.title,
        "hypothesis": plan.hypothesis,
        "owner": plan.owner,
        "mode": plan.mode,
        "control_strategy_id": plan.control.strategy_id,
        "control_config_version": plan.control.config_version,
        "variant_strategy_id": plan.variant.strategy_id,
        "variant_config_version": plan.variant.config_version,
        "traffic_split_pct": plan.traffic_split_pct,
        "min_samples_for_decision": plan.min_samples_for_decision,
        "planned_pairs": plan.planned_pairs,
        "starts_at": naive_utc(plan.starts_at),
        "ends_at": naive_utc(plan.ends_at),
        "alpha": plan.alpha,
        "alarm_alpha": plan.alarm_alpha,
        "max_missing": plan.max_missing,
        "time_block_us": plan.time_block,
        "matching": plan.matching.method,
        "tolerance_us": plan.matching.tolerance,
        "request_review": plan.promotion.request_review,
        "approvers": plan.promotion.approvers,
        "allow_self_approval": plan.promotion.allow_self_approval,
        "plan": json.dumps(plan.model_dump(mode="json"), ensure_ascii=False),
    }


def _record_refusals(connection: duckdb.DuckDBPyConnection, now: datetime, refused: list[Refusal]) -> None:
    """Keeps the refusals that stand; each new one is also written to the audit log, once."""
    moment = naive_utc(now)
    rows = connection.execute(
        "SELECT path, experiment_id, key, value, sentence, refused_at FROM plan_refusals"
    ).fetchall()
    since = {Refusal(*row[:5]): row[5] for row in rows}
    connection.execute("DELETE FROM plan_refusals")
    for refusal in sorted(set(refused), key=str):
        connection.execute(
            "INSERT INTO plan_refusals VALUES (?, ?, ?, ?, ?, ?)", [*refusal, since.get(refusal, moment)]
        )
        if refusal not in since:
            audit.append(connection, now, refusal.experiment_id, "plan_refused", detail=refusal._asdict())
