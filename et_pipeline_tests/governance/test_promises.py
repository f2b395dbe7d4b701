"""Whether a promise is kept after the promotion: the recipe of the docs, as it is written there."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline.contracts.plan import Plan, parse_plan, unlike_followed
from et_pipeline.governance.promises import promise_state
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT, SAMPLE_PLANS
from et_pipeline_tests.insight.figures import Database, Page, not_found

RECIPE = (PROJECT / "docs" / "is-the-replay-true.md").read_text(encoding="utf-8")
RECIPE = RECIPE[RECIPE.index("## After a promotion") : RECIPE.index("## What was measured")]
COMMANDS = re.findall(r"^et (generate (\w+) .*)$", RECIPE, flags=re.MULTILINE)
SAID = {
    "kept": ("The promise is kept so far", "The promoted strategy is better"),
    "lost": ("The promise is not kept", "Inconclusive"),
}
ends = st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(lambda pair: (min(pair), max(pair)))


@given(promised=ends, observed=ends)
def test_a_better_observation_never_makes_a_promise_worse(
    promised: tuple[float, float], observed: tuple[float, float]
) -> None:
    order = ["not_kept", "not_yet", "kept"]
    lower, upper = observed
    better = promise_state(promised, (lower + 1, upper + 1))
    assert order.index(better) >= order.index(promise_state(promised, observed))
    assert promise_state(promised, promised) == ("kept" if promised[0] > 0 else "not_yet")
    assert promise_state(promised, (-math.inf, math.inf)) == "not_yet"


def test_the_plan_of_the_recipe_can_follow_the_sample() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", RECIPE, flags=re.DOTALL)
    plan = parse_plan(text.encode(), "recipe.yaml")
    followed = parse_plan((SAMPLE_PLANS / "line-shop-v4.yaml").read_bytes(), "line-shop-v4.yaml")
    assert isinstance(plan, Plan) and isinstance(followed, Plan)
    assert unlike_followed(plan, [followed]) is None


@pytest.mark.parametrize(("command", "folder"), COMMANDS, ids=[folder for _, folder in COMMANDS])
def test_the_commands_of_the_recipe_tell_the_truth(tmp_path: Path, command: str, folder: str) -> None:
    data = tmp_path / folder

    def et(*arguments: str) -> str:
        done = CliRunner().invoke(
            app, list(arguments), env={"ET_DATA_DIR": str(data)}, catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    et(*(str(data) if word == folder else word for word in shlex.split(command)))
    et("tick")
    sentence, badge = SAID[folder]
    shown = json.loads(et("show", "generated-1-after", "--json"))
    (promise,) = shown["promises"]
    assert (shown["follows"], promise["state"]) == (
        "generated-1",
        {"kept": "kept", "lost": "not_kept"}[folder],
    )
    assert shown["drift_signals"] == [], "nobody is told to stop a strategy that trades no more"
    truth = json.loads((data / "truth.json").read_text())["experiments"]
    for side, name, sign in (("promised", "generated-1", 1), ("observed", "generated-1-after", -1)):
        assert promise[f"{side}_comparison"] == "like_for_like"
        true = sign * truth[name]["uplift"]["edge_bps"]
        assert promise[f"{side}_lower"] <= true <= promise[f"{side}_upper"]
    assert sentence in et("show", "generated-1-after")
    html = (Settings(data_dir=data).pages_dir / "generated-1-after.html").read_text(encoding="utf-8")
    assert sentence in html and badge in html and 'href="generated-1.html"' in html
    with duckdb.connect(str(Settings(data_dir=data).analyst_path), read_only=True) as connection:
        assert not_found(Page(html), Database(connection, "generated-1-after")) == []
        assert connection.execute("SELECT count(*) FROM promises").fetchall() == [(1,)]
    if folder == "kept":
        et("rebuild", "--check")
