"""The bot's contract as one document, which `et spec` prints. Strategies pass shadow under one version of it."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from et_pipeline.common.times import format_duration
from et_pipeline.contracts.messages import BOT_ID, SCHEMA_VERSION
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT, Matching, Plan, Promotion, content_hash
from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS

AUTHORITY = "Explain"

INPUTS: tuple[dict[str, str], ...] = (
    {
        "input": "Replay-tagged OperationsReport from shadow variant",
        "source": "gov.backtester",
        "required": "required",
        "use": "Populate matched-pair samples for the variant.",
    },
    {
        "input": "Live OperationsReport from control strategy",
        "source": "internal.report_bus",
        "required": "required",
        "use": "Baseline comparison for edge and fill quality.",
    },
)

OUTPUTS: tuple[dict[str, str], ...] = (
    {
        "output": "OperationsReport with a reason code",
        "destination": "internal.report_bus",
        "use": "Says what was found, once per occasion.",
    },
    {
        "output": "Drift signal",
        "destination": "StrategyRegistry",
        "use": "Says that a variant underperforms; asks for nothing.",
    },
    {
        "output": "Promotion review request",
        "destination": "internal.report_bus",
        "use": "Asks human reviewers to look at the evidence; promotes nothing.",
    },
)

NEVER = (
    "proposes, approves or blocks a trade",
    "changes a strategy's stage",
    "promotes a variant",
)


def contract() -> dict[str, Any]:
    """The whole contract as plain JSON data, with its fingerprint."""
    return {
        "id": BOT_ID,
        "name": "ExperimentTracker",
        "class": "Governance Service",
        "authority": AUTHORITY,
        "never": list(NEVER),
        "default_mode": "shadow_only",
        "modes": ["shadow_only", "limited_live"],
        "capital_impact": "Indirect",
        "developer_owner": "Polytraders core",
        "applies_to": "All strategies in shadow or limited-live experiment mode",
        "schema_version": SCHEMA_VERSION,
        "inputs": {"polymarket": [], "internal": list(INPUTS)},
        "parameters": parameters(),
        "metrics": [
            {
                "name": metric.name,
                "unit": metric.unit,
                "direction": "higher is better" if metric.direction > 0 else "lower is better",
                "allowed": metric.allowed,
                "estimator": metric.estimator,
                "meaning": metric.meaning,
            }
            for metric in CATALOGUE.values()
        ],
        "reason_codes": [code._asdict() for code in REASON_CODES],
        "outputs": list(OUTPUTS),
        "contract_fingerprint": contract_fingerprint(),
    }


def contract_fingerprint() -> str:
    """Hash of authority and reason codes: when it changes, strategies must pass shadow again."""
    return content_hash({"authority": AUTHORITY, "reason_codes": [list(code) for code in REASON_CODES]})


def parameters() -> list[dict[str, Any]]:
    """Every parameter of a plan with default, warning and hard limits, taken from the plan's schema."""
    plan = Plan.model_fields
    return [
        _parameter(
            "traffic_split_pct",
            plan["traffic_split_pct"],
            "percent",
            f"above {LARGE_SPLIT_PCT:g}: needs a human's sign-off",
        ),
        _parameter("min_samples_for_decision", plan["min_samples_for_decision"], "pairs"),
        _parameter("planned_pairs", plan["planned_pairs"], "pairs"),
        _parameter("planned_clusters", plan["planned_clusters"], "effective clusters"),
        _parameter("alpha", plan["alpha"], "probability"),
        {
            **_parameter(
                "time_block",
                plan["time_block"],
                "duration",
                f"lag-1 autocorrelation above {MAX_AUTOCORRELATION:g}",
            ),
            "default": format_duration(plan["time_block"].default),
        },
        {
            "name": "min_effective_clusters",
            "unit": "effective clusters",
            "default": MIN_CLUSTERS,
            "warning": f"below {MIN_CLUSTERS}: nothing is concluded",
            "hard_limits": {"fixed": MIN_CLUSTERS},
        },
        _parameter(
            "matching.method", Matching.model_fields["method"], "correlation; in limited live arms or nearest"
        ),
        _parameter("matching.tolerance", Matching.model_fields["tolerance"], "duration"),
        _parameter(
            "matching.on_no_trade",
            Matching.model_fields["on_no_trade"],
            "exclude, or in shadow zero or assume_zero",
        ),
        _parameter("promotion.request_review", Promotion.model_fields["request_review"], "yes or no"),
        _parameter("promotion.approvers", Promotion.model_fields["approvers"], "people"),
        _parameter(
            "promotion.allow_self_approval", Promotion.model_fields["allow_self_approval"], "yes or no"
        ),
    ]


def _parameter(name: str, field: FieldInfo, unit: str, warning: str | None = None) -> dict[str, Any]:
    limits = {
        limit: getattr(rule, limit)
        for rule in field.metadata
        for limit in ("ge", "gt", "le", "lt")
        if getattr(rule, limit, None) is not None
    }
    return {
        "name": name,
        "unit": unit,
        "default": None if field.is_required() else field.default,
        "required": field.is_required(),
        "warning": warning,
        "hard_limits": limits,
    }
