"""The experiment plan: what a team registers before sampling starts, and what is frozen from then on."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from et_pipeline.common.times import format_duration, parse_duration
from et_pipeline.common.untrusted import in_utc, printable, read_inside, shown
from et_pipeline.contracts.breakdowns import DIMENSION_PATTERN, MAX_VALUES
from et_pipeline.contracts.metrics import CATALOGUE, Metric, beyond, by_size
from et_pipeline.contracts.plan_yaml import UNREADABLE, read_yaml, unreadable
from et_pipeline.contracts.refusals import Refusal, explain, shortened

MAX_PLAN_BYTES = 64 * 1024
MAX_SIZE = 1_000_000_000
"""The largest number of pairs or clusters that a plan may name, so that calculations with it do not overflow."""
SHOWN_REFUSALS = 20
"""How many faults of one file are listed one by one."""
MISREAD = (
    "YAML reads this as another number than people do; allowed: decimal digits without a leading zero, for example "
    "100 or 0.05 (and quotation marks around text)"
)
INDEX = "index"
"""Name of the page that lists the experiments. It is in the same folder as their pages, so no experiment may have
it."""
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))]
)
"""Names of devices in Windows, whatever follows after their first dot: no file can have such a name there."""
TAKEN = (
    "the page of the experiment is named after this id, and this name is reserved; allowed: any id except "
    "index, con, prn, aux, nul, com0 to com9 and lpt0 to lpt9"
)
LARGE_SPLIT_PCT = 50.0
"""Share of the traffic, in percent, above which a human has to agree before sampling begins."""
MAX_UNMATCHED = 0.25
"""Share of an arm's reports without a partner above which the sample is not what was planned, and a check fails."""
UNREAD = "not read: a plan is a file that ends with .yaml or .yml, directly in the folder of experiments"
AMENDABLE = ("title", "owner", "ends_at", "traffic_split_pct", "sample")
"""The keys that may change after EXPERIMENT_STARTED (`ends_at` only earlier, `traffic_split_pct` only lower, `sample`
only to true)."""
DERIVED = ("weight", "above", "below")
"""The keys by which an entry of `metrics` derives a metric of its own."""
LATER_KEYS = (
    "max_missing",
    "family",
    "boundary",
    "replay_fidelity",
    "breakdowns",
    "market_groups",
    "follows",
    "weighting",
)
"""Keys that were added later. Where they have their default, they are left out of the frozen part, so that the hash
of a plan that was registered before does not change."""


FROZEN = "frozen"
"""Validation context for a plan that is registered already: it may contain what newer rules would refuse."""


def _duration(value: object) -> int:
    return parse_duration(value)  # type: ignore[arg-type]


Duration = Annotated[int, BeforeValidator(_duration), PlainSerializer(format_duration, return_type=str)]
Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(printable)]
Share = Annotated[float, Field(ge=0, lt=1, strict=False)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
Dimension = Annotated[str, Field(pattern=DIMENSION_PATTERN)]
Wildcard = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
Size = Annotated[int, Field(ge=2, le=MAX_SIZE)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Arm(_Strict):
    """Which reports belong to an arm; without `config_version`, every version of the strategy does."""

    strategy_id: Name
    config_version: Name | None = None

    def overlaps(self, other: Arm) -> bool:
        """Whether one report could belong to both arms."""
        return self.strategy_id == other.strategy_id and (
            self.config_version is None
            or other.config_version is None
            or self.config_version == other.config_version
        )


class Matching(_Strict):
    """What is compared: pairs (`correlation`, `nearest`), or all trades of both arms (`arms`).

    With `arms`, pairs by nearest time within the tolerance are made too, but only as examples for people to look at.
    """

    method: Literal["correlation", "nearest", "arms"] = "correlation"
    tolerance: Duration | None = None
    on_no_trade: Literal["exclude", "zero", "assume_zero"] = "exclude"

    @model_validator(mode="after")
    def _tolerance_belongs_to_nearest(self) -> Self:
        if (self.method == "correlation") == (self.tolerance is not None):
            raise ValueError(
                "tolerance: required with method nearest or arms, and allowed only there (for example 2s)"
            )
        return self


def counted(method: str) -> str:
    """What `min_samples_for_decision`, `planned_pairs` and `n_pairs` count with a method of matching, in words."""
    return "trades of the smaller arm" if method == "arms" else "pairs"


def _usual_matching(plan: dict[str, Any]) -> Matching:
    """The default of `matching`, which depends on the plan's mode."""
    live = plan.get("mode") == "limited_live"
    return Matching.model_validate({"method": "arms", "tolerance": "1m"} if live else {})


class MetricPlan(_Strict):
    """A metric's part in the decision; margins are in the metric's own unit.

    With `weight`, `above` or `below` it is a metric that the plan derives from `name`; it gets a name of its own.
    """

    name: str
    weight: str | None = None
    above: Annotated[float, Field(strict=False)] | None = None
    below: Annotated[float, Field(strict=False)] | None = None
    role: Literal["primary", "guardrail", "secondary"]
    non_inferiority_margin: Annotated[float, Field(gt=0, strict=False)] | None = None
    equivalence_margin: Annotated[float, Field(gt=0, strict=False)] | None = None
    estimator: Literal["mean", "bounded", "ratio"] | None = None
    winsor: Annotated[
        tuple[Annotated[float, Field(strict=False)], Annotated[float, Field(strict=False)]] | None,
        Field(strict=False),
    ] = None

    @property
    def metric(self) -> Metric:
        """The metric's rules: the catalogue's entry, or what the plan derives from one."""
        if self.weight is not None:
            return by_size(self.name, self.weight)
        for side in ("above", "below"):
            limit = getattr(self, side)
            if limit is not None:
                return beyond(self.name, side, limit)
        return CATALOGUE[self.name]

    @property
    def effective_estimator(self) -> str:
        """The plan's estimator, or the catalogue's where it names none."""
        return self.estimator or self.metric.estimator

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name not in CATALOGUE:
            raise ValueError(
                f"name: {self.name!r} is not in the metric catalogue; allowed: {', '.join(CATALOGUE)}"
            )
        derived = [key for key in DERIVED if getattr(self, key) is not None]
        if len(derived) > 1:
            raise ValueError(f"{derived[1]}: allowed: one of {', '.join(DERIVED)} per entry")
        metric = self.metric
        if (self.role == "guardrail") != (self.non_inferiority_margin is not None):
            raise ValueError(
                "non_inferiority_margin: required for every guardrail, and not allowed for another role"
            )
        if self.equivalence_margin is not None and self.role != "primary":
            raise ValueError("equivalence_margin: allowed on the primary metric only")
        if metric.is_ratio != (self.effective_estimator == "ratio"):
            allowed = "ratio" if metric.is_ratio else "mean or bounded"
            raise ValueError(
                f"estimator: {self.effective_estimator!r} does not fit {metric.name}; allowed: {allowed}"
            )
        if self.winsor is not None:
            low, high = self.winsor
            if metric.source is not None and metric.weight is None:
                raise ValueError(
                    f"winsor: {metric.name} is 0 or 1 for each trade, so limits change nothing; allowed: no winsor"
                )
            if metric.ratio_of is not None:
                raise ValueError(
                    f"winsor: {metric.name} divides totals, so no single trade has a value to limit; allowed: no winsor"
                )
            if not metric.lower <= low < high <= metric.upper:
                raise ValueError(
                    f"winsor: [{low}, {high}] must lie within {metric.allowed}, with the lower end first"
                )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out the keys for derived metrics where they are not used, so that hashes of older plans do not
        change."""
        found: dict[str, Any] = serialise(self)
        return {key: value for key, value in found.items() if key not in DERIVED or value is not None}


class Promotion(_Strict):
    """What happens after `variant_better`: a request to humans, never a promotion."""

    request_review: bool = False
    approvers: Annotated[int, Field(ge=1, le=5)] = 1
    allow_self_approval: bool = False


class ReplayFidelity(_Strict):
    """What a shadow plan asks of the backtester; the margin is in the primary's unit."""

    require: bool = False
    margin: Annotated[float, Field(gt=0, strict=False)] | None = None


class Plan(_Strict):
    """An experiment's registered definition. See `docs/write-a-plan.md` for every key."""

    experiment_id: Identifier
    title: Text
    hypothesis: Text
    owner: Name
    mode: Literal["shadow", "limited_live"]
    control: Arm
    variant: Arm
    traffic_split_pct: Annotated[float, Field(ge=0, le=100, strict=False)] = 10.0
    min_samples_for_decision: Size = 100
    planned_pairs: Size
    planned_clusters: Size | None = None
    starts_at: Instant
    ends_at: Instant
    alpha: Annotated[float, Field(ge=0.0001, le=0.2)] = 0.05
    max_missing: Share = 0.05
    time_block: Duration = parse_duration("1h")
    matching: Matching = Field(default_factory=_usual_matching)
    boundary: Literal["horizon", "mixture"] | None = None
    metrics: Annotated[tuple[MetricPlan, ...], Field(min_length=1, max_length=20, strict=False)]
    weighting: Literal["pairs", "markets"] = "pairs"
    promotion: Promotion = Promotion()
    family: Identifier | None = None
    replay_fidelity: ReplayFidelity = ReplayFidelity()
    breakdowns: Annotated[tuple[Dimension, ...], Field(max_length=10, strict=False)] = ()
    market_groups: Annotated[dict[Name, Wildcard], Field(max_length=MAX_VALUES)] = {}
    follows: Identifier | None = None
    sample: bool = False

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError(f"ends_at: {self.ends_at.isoformat()} is not after starts_at")
        if self.starts_at.year < 1970 or self.ends_at.year > 2200:
            raise ValueError("starts_at: the experiment must lie between the years 1970 and 2200")
        if self.control.overlaps(self.variant) and self.mode == "limited_live":
            raise ValueError("variant: in limited_live the arms must differ in strategy_id or config_version")
        if self.mode == "shadow" and self.matching.method != "correlation":
            raise ValueError(
                f"matching: {self.matching.method} is only for limited_live, because a replay carries the live "
                "correlation_id"
            )
        if self.mode == "limited_live" and self.matching.on_no_trade != "exclude" and info.context != FROZEN:
            raise ValueError(
                f"matching: on_no_trade {self.matching.on_no_trade} is only for shadow; in limited_live the variant "
                "does not get the control's traffic, so a missing report says nothing; allowed: "
                "exclude (experiments that were registered with another value are judged by exclude)"
            )
        if self.mode == "limited_live" and self.replay_fidelity != ReplayFidelity():
            raise ValueError("replay_fidelity: only for shadow, because nothing is replayed in limited_live")
        if len(set(self.breakdowns)) < len(self.breakdowns):
            raise ValueError("breakdowns: a dimension is listed more than once")
        if ("market" in self.breakdowns) != bool(self.market_groups):
            raise ValueError(
                "market_groups: required with the breakdown market, and allowed only there; allowed: a pattern for "
                "each group, "
                'for example {nba: "nba-*"}'
            )
        if any(pattern.count("*") > 3 for pattern in self.market_groups.values()):
            raise ValueError("market_groups: a pattern may have at most three *")
        bounded = [metric.metric.name for metric in self.metrics if metric.effective_estimator == "bounded"]
        if self.matching.method == "arms" and bounded:
            raise ValueError(
                f"metrics: estimator bounded of {', '.join(bounded)} needs pairs, and matching arms compares all "
                "trades without them; allowed: no estimator here, or matching nearest"
            )
        names = [metric.metric.name for metric in self.metrics]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"metrics: {', '.join(doubled)} is listed more than once")
        primaries = [metric.metric.name for metric in self.metrics if metric.role == "primary"]
        if len(primaries) != 1:
            raise ValueError(f"metrics: exactly one metric must have the role primary, not {len(primaries)}")
        return self

    @model_validator(mode="after")
    def _follows_another(self) -> Self:
        if self.follows is not None and self.mode != "shadow":
            raise ValueError(
                "follows: only for shadow, because the replaced strategy no longer trades and is replayed"
            )
        if self.follows == self.experiment_id:
            raise ValueError(
                "follows: an experiment cannot follow itself; allowed: the experiment whose promise it watches"
            )
        return self

    @property
    def primary(self) -> MetricPlan:
        """The one primary metric."""
        return next(metric for metric in self.metrics if metric.role == "primary")

    @property
    def guardrails(self) -> tuple[MetricPlan, ...]:
        """The guardrail metrics, in the plan's order."""
        return tuple(metric for metric in self.metrics if metric.role == "guardrail")

    @property
    def replay_margin(self) -> float | None:
        """How large a gap between the replayed and the live control may be, in the primary's unit."""
        return self.replay_fidelity.margin or self.primary.equivalence_margin

    @property
    def alarm_alpha(self) -> float:
        """Alpha of each metric that may raise the alarm: any of them may, so alpha is divided among them."""
        return self.alpha / (1 + len(self.guardrails))

    @property
    def planned_blocks(self) -> int:
        """Time blocks between `starts_at` and `ends_at`, at least 1."""
        length = (self.ends_at - self.starts_at).total_seconds() * 1_000_000
        return max(1, int(length // self.time_block))

    @property
    def frozen(self) -> dict[str, Any]:
        """The part of the plan that is frozen from EXPERIMENT_STARTED on, as plain data."""
        defaults = {key for key in LATER_KEYS if getattr(self, key) == type(self).model_fields[key].default}
        return self.model_dump(mode="json", exclude={*AMENDABLE, *defaults})

    @property
    def plan_hash(self) -> str:
        """SHA-256 of the frozen part in canonical JSON."""
        return content_hash(self.frozen)


def content_hash(document: object) -> str:
    """SHA-256 of a JSON document in canonical form (sorted keys, no spaces, UTF-8)."""
    canonical = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def parse_plan(content: bytes, path: str) -> Plan | list[Refusal]:
    """Reads one plan file.

    Args:
        content: The file's bytes.
        path: Name for messages.

    Returns:
        The plan, or every reason why it is refused.
    """
    if len(content) > MAX_PLAN_BYTES:
        return [Refusal(path, None, "", "", f"larger than the {MAX_PLAN_BYTES} bytes that a plan may have")]
    try:
        document, scalars = read_yaml(content)
    except UNREADABLE as error:
        return [Refusal(path, None, "", "", unreadable(content, error))]
    if not isinstance(document, dict):
        return [Refusal(path, None, "", shortened(document), "a plan must be a mapping of keys to values")]
    identifier = document.get("experiment_id")
    known = identifier if isinstance(identifier, str) else None
    misread = [(key, scalar.text) for key, scalar in scalars.items() if scalar.misread]
    if misread:
        return [
            Refusal(path, known, shown(key)[:200], shortened(text), MISREAD)
            for key, text in misread[:SHOWN_REFUSALS]
        ]
    if known is not None and (known == INDEX or known.partition(".")[0] in DEVICES):
        return [Refusal(path, known, "experiment_id", shortened(known), TAKEN)]
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        at_fault = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
        # The library reports a list with a faulty entry as too short as well.
        problems = [item for item in problems if item["type"] != "too_short" or item["loc"] not in at_fault]
        # The library also reports that a default was not made, if it depends on a key that is at fault.
        problems = [item for item in problems if item["type"] != "default_factory_not_called"]
        listed = [Refusal(path, known, *explain(problem, scalars)) for problem in problems[:SHOWN_REFUSALS]]
        more = len(problems) - len(listed)
        return listed if not more else [*listed, Refusal(path, known, "", "", f"and {more} more faults")]


def read_plans(folder: Path) -> tuple[dict[str, Plan], list[Refusal]]:
    """Reads every plan of a folder.

    Args:
        folder: Folder with `*.yaml` files.

    Returns:
        Plans by file name, and why the other files were refused. Two files with the same `experiment_id`
        are both refused, since only a human can say which one is meant.
    """
    plans: dict[str, Plan] = {}
    refusals: list[Refusal] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        name = shown(path.name)
        try:
            outcome = _parsed(read_inside(path, folder, MAX_PLAN_BYTES + 1), name)
        except OSError as error:
            refusals.append(Refusal(name, None, "", "", f"not readable: {error.strerror or error}"))
            continue
        if isinstance(outcome, Plan):
            plans[name] = outcome
        else:
            refusals.extend(outcome)
    refusals += [
        Refusal(shown(str(path.relative_to(folder))), None, "", "", UNREAD) for path in unread_plans(folder)
    ]
    claims: dict[str, list[str]] = {}
    for name, plan in plans.items():
        claims.setdefault(plan.experiment_id, []).append(name)
    for identifier, names in claims.items():
        if len(names) > 1:
            for name in names:
                others = ", ".join(other for other in names if other != name)
                refusals.append(
                    Refusal(
                        name,
                        identifier,
                        "experiment_id",
                        repr(identifier),
                        f"{others} uses this experiment_id too",
                    )
                )
                del plans[name]
    return plans, refusals


def unread_plans(folder: Path) -> list[Path]:
    """Files that look like plans of the folder but are not read, for instance `Upper.YAML` or `sub/plan.yaml`."""
    like = (path for path in folder.rglob("*") if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    return sorted(
        path
        for path in like
        if not (path.parent == folder and path.suffix in (".yaml", ".yml"))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


@lru_cache(maxsize=1024)
def _parsed(content: bytes, name: str) -> Plan | tuple[Refusal, ...]:
    """Parses a plan's bytes. It is cached, since a tick reads every plan twice and YAML takes milliseconds per plan."""
    outcome = parse_plan(content, name)
    return outcome if isinstance(outcome, Plan) else tuple(outcome)


def unlike_family(plan: Plan, others: list[Plan]) -> Plan | None:
    """The first other experiment of a plan's family with another control or another primary metric, or None."""
    for other in others:
        if (
            plan.family is not None
            and other.family == plan.family
            and other.experiment_id != plan.experiment_id
            and (other.control, other.primary.metric.name) != (plan.control, plan.primary.metric.name)
        ):
            return other
    return None


def unlike_followed(plan: Plan, others: list[Plan]) -> str | None:
    """Why a plan cannot follow the experiment that it names; None where it can, or names none.

    Args:
        plan: The plan.
        others: The plans that are registered.
    """
    if plan.follows is None:
        return None
    followed = next((other for other in others if other.experiment_id == plan.follows), None)
    if followed is None:
        return "no registered experiment has this id; allowed: the id of one that is registered"
    if plan.starts_at <= followed.starts_at:
        return f"{plan.follows} starts at {followed.starts_at.isoformat()}; allowed: a plan that starts later"
    if (plan.control, plan.variant) != (followed.variant, followed.control):
        return (
            f"after the promotion, the variant of {plan.follows} trades; allowed: its variant as control and "
            "its control as variant, with the same config_version"
        )
    if _estimand(plan) != _estimand(followed):
        return (
            f"{plan.follows} promises {followed.primary.name} by {followed.weighting}; allowed: the same primary "
            "metric and weighting, with the same estimator and winsor"
        )
    return None


def _estimand(plan: Plan) -> tuple[object, ...]:
    primary = plan.primary
    entry = primary.model_dump(exclude={"estimator", "equivalence_margin"})
    return plan.weighting, primary.effective_estimator, entry


def overlapping(plan: Plan, others: list[Plan]) -> Plan | None:
    """The first other experiment that watches the same variant at the same time, or None."""
    for other in others:
        if (
            other.experiment_id != plan.experiment_id
            and plan.variant.overlaps(other.variant)
            and plan.mode == other.mode
            and plan.starts_at < other.ends_at
            and other.starts_at < plan.ends_at
        ):
            return other
    return None
