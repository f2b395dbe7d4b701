"""From plans to experiments: a plan is registered once, together with its tuning, and is frozen from then on."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.sql import insert_row
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.plan import (
    AMENDABLE,
    FROZEN,
    Plan,
    overlapping,
    read_plans,
    unlike_family,
    unlike_followed,
)
from et_pipeline.contracts.refusals import Refusal
from et_pipeline.experiments.failures import Failure, attempt, note
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.inference.boundary import solve_g
from et_pipeline.inference.horizon import MIN_BLOCKS
from et_pipeline.inference.twoway import planned_clusters
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings


class Registration(NamedTuple):
    """What one call of `register` changed.

    Attributes:
        registered: Experiments that were registered now.
        amended: Experiments of which a key that may change was changed now.
        refused: All present refusals, new or not.
        failures: Plans for which the program raised an error; nothing is changed for them.
    """

    registered: list[str]
    amended: list[str]
    refused: list[Refusal]
    failures: list[Failure]


def register(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> Registration:
    """Registers new plans, applies allowed amendments, refuses the rest; one transaction.

    A refused plan never stops the others. Of two new plans that overlap on one variant, the one that
    starts later is refused (ties: the later id); a registered one always stays.

    Args:
        connection: The warehouse.
        settings: The folder of the plans and the allowed mode.
        now: The moment of registration.
    """
    plans, refused = read_plans(settings.experiments_dir)
    texts = {item.experiment_id: item.plan for item in registered_experiments(connection)}
    read, failures = attempt(
        "plan", sorted(texts), lambda names: {name: _plan(texts[name]) for name in names}
    )
    known = {name: plan for part in read for name, plan in part.items()}
    with transaction(connection):
        accepted: list[Plan] = list(known.values())
        decided, unchanged_until = _decided(connection), _last_look(connection)
        registered, amended = [], []
        for path, read_plan in sorted(
            plans.items(), key=lambda item: (item[1].starts_at, item[1].experiment_id)
        ):
            if read_plan.experiment_id in texts and read_plan.experiment_id not in known:
                continue
            present = known.get(read_plan.experiment_id)
            plan = with_boundary(with_matching(read_plan, present), present)
            if present is not None:
                problems = _forbidden_changes(path, present, plan, decided.get(plan.experiment_id))
                refused.extend(problems)
                if not problems and present != plan:
                    _amend(connection, now, present, plan, unchanged_until)
                    amended.append(plan.experiment_id)
                continue
            problem = _inadmissible(path, plan, accepted, settings)
            if problem is not None:
                refused.append(problem)
                continue
            tuned, failed = attempt("plan", [plan.experiment_id], partial(_tunings, plan))
            failures += failed
            if failed:
                continue
            required = plan.mode == "shadow" and (plan.replay_fidelity.require or settings.replay_required)
            _insert(connection, now, path, plan, g=tuned[0], replay_required=required)
            accepted.append(plan)
            registered.append(plan.experiment_id)
        _record_refusals(connection, now, refused)
    looked_at = {*texts, *(plan.experiment_id for plan in plans.values())}
    note(connection, now, "plan", sorted(looked_at), failures)
    return Registration(registered, amended, refused, failures)


def _plan(text: str) -> Plan:
    """A registered plan, read from the JSON in which it is stored."""
    return Plan.model_validate_json(text, strict=False, context=FROZEN)


def with_boundary(plan: Plan, present: Plan | None = None) -> Plan:
    """The plan with its boundary: the one in the file, else the one it was registered with, else the default.

    A plan that was registered before there was a choice names none and has the mixture. A new plan gets the boundary
    over its own horizon, unless it has so few blocks that no look could ever be taken.

    Args:
        plan: The plan in its file.
        present: The registered plan; None for a new one.
    """
    chosen = plan.boundary
    if present is not None and chosen in (None, present.boundary or "mixture"):
        chosen = present.boundary
    elif chosen is None:
        chosen = "horizon" if plan.planned_blocks >= MIN_BLOCKS else "mixture"
    return plan.model_copy(update={"boundary": chosen})


def with_matching(plan: Plan, present: Plan | None) -> Plan:
    """The plan with the matching with which it was registered, if its file names none: the default was changed
    since."""
    if present is None or "matching" in plan.model_fields_set:
        return plan
    return plan.model_copy(update={"matching": present.matching})


def expected_clusters(plan: Plan) -> float:
    """Effective clusters for which the tuning is computed: the plan's own number, or an estimate from its blocks."""
    return plan.planned_clusters or planned_clusters(plan.planned_blocks)


def tuning(plan: Plan) -> float:
    """The tuning `g` of a plan's intervals; it is computed once and frozen with the plan."""
    return solve_g(expected_clusters(plan), plan.alpha)


def _tunings(plan: Plan, _: list[str]) -> float:
    """`tuning` with the signature that `attempt` needs."""
    return tuning(plan)


def _inadmissible(path: str, plan: Plan, accepted: list[Plan], settings: Settings) -> Refusal | None:
    """Why a new plan that is valid by itself may not be registered, or None."""
    if plan.mode == "limited_live" and settings.mode == "shadow_only":
        return Refusal(
            path,
            plan.experiment_id,
            "mode",
            "'limited_live'",
            "this deployment is shadow_only; a human must set ET_MODE=limited_live to allow it",
        )
    if plan.boundary == "horizon" and plan.planned_blocks < MIN_BLOCKS:
        return Refusal(
            path,
            plan.experiment_id,
            "boundary",
            "'horizon'",
            f"between its start and its end are {plan.planned_blocks} time blocks, and no look is taken before "
            f"{MIN_BLOCKS} blocks with pairs; allowed: a shorter time_block, a longer window, or mixture",
        )
    other = overlapping(plan, accepted)
    if other is not None:
        return Refusal(
            path,
            plan.experiment_id,
            "variant",
            plan.variant.strategy_id,
            f"{other.experiment_id} already watches the same variant at the same time; "
            "allowed: one experiment per variant at a time",
        )
    reason = unlike_followed(plan, accepted)
    if reason is not None:
        return Refusal(path, plan.experiment_id, "follows", repr(plan.follows), reason)
    other = unlike_family(plan, accepted)
    if other is not None:
        return Refusal(
            path,
            plan.experiment_id,
            "family",
            repr(plan.family),
            f"{other.experiment_id} belongs to this family and has another control or another primary metric; "
            "allowed: the "
            "same control and primary metric in one family, because its variants answer one question",
        )
    return None


def _decided(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """By experiment, the moment of the figures from which its announced verdict was decided."""
    rows = connection.execute(
        "SELECT experiment_id, min(detail->>'$.decided_as_of') FROM audit_log "
        "WHERE action = 'transition' AND to_state = 'concluded' GROUP BY experiment_id"
    ).fetchall()
    return {name: datetime.fromisoformat(moment) for name, moment in rows if moment}


def _last_look(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When the previous tick read the plans (UTC), which was after it had ingested the reports that it paired.

    The present tick has ingested its reports already, but pairs them only after it has read the plans.
    """
    row = connection.execute(
        "SELECT max(ingested_at) FROM snapshots WHERE batch <= (SELECT max(batch) FROM pairing_progress)"
    ).fetchone()
    return None if row is None else row[0]


def _forbidden_changes(path: str, present: Plan, plan: Plan, decided: datetime | None) -> list[Refusal]:
    """The changes in a plan's file that are not allowed after EXPERIMENT_STARTED, and those not allowed after a
    verdict."""
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
    if decided is not None and plan.ends_at < min(decided, present.ends_at):
        problems.append(
            Refusal(
                path,
                plan.experiment_id,
                "ends_at",
                plan.ends_at.isoformat(),
                f"its verdict was announced as of {decided.isoformat()} and is based on reports up to that time; "
                "allowed: that time or later",
            )
        )
    if present.sample and not plan.sample:
        problems.append(
            Refusal(
                path, plan.experiment_id, "sample", "False", "sample data stays sample data; allowed: true"
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


def _insert(
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
    path: str,
    plan: Plan,
    *,
    g: float,
    replay_required: bool,
) -> None:
    row = {
        **_columns(plan),
        "expected_clusters": expected_clusters(plan),
        "g": g,
        "planned_blocks": plan.planned_blocks,
        "on_no_trade": plan.matching.on_no_trade,
        "replay_required": replay_required,
        "path": path,
        "registered_at": naive_utc(now),
    }
    insert_row(connection, "experiments", row)
    connection.executemany(
        "INSERT INTO experiment_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            [
                plan.experiment_id,
                metric.metric.name,
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


def _amend(
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
    present: Plan,
    plan: Plan,
    unchanged_until: datetime | None,
) -> None:
    row = _columns(plan)
    assignments = ", ".join(f"{name} = ?" for name in row)
    connection.execute(
        f"UPDATE experiments SET {assignments} WHERE experiment_id = ?", [*row.values(), plan.experiment_id]
    )
    before, after = (p.model_dump(mode="json", include=set(AMENDABLE)) for p in (present, plan))
    changes = {key: [before[key], after[key]] for key in AMENDABLE if before[key] != after[key]}
    detail = {"changes": changes, "unchanged_until": unchanged_until and unchanged_until.isoformat()}
    audit.append(connection, now, plan.experiment_id, "plan_amended", detail=detail)


def _columns(plan: Plan) -> dict[str, Any]:
    """The plan as columns of `experiments`, without the columns that are fixed at registration."""
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
        "boundary": plan.boundary or "mixture",
        "max_missing": plan.max_missing,
        "replay_margin": plan.replay_margin,
        "follows": plan.follows,
        "time_block_us": plan.time_block,
        "matching": plan.matching.method,
        "tolerance_us": plan.matching.tolerance,
        "request_review": plan.promotion.request_review,
        "approvers": plan.promotion.approvers,
        "allow_self_approval": plan.promotion.allow_self_approval,
        "plan": json.dumps(plan.model_dump(mode="json"), ensure_ascii=False),
    }


def _record_refusals(connection: duckdb.DuckDBPyConnection, now: datetime, refused: list[Refusal]) -> None:
    """Stores the present refusals; each new one is also written to the audit log, once."""
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
