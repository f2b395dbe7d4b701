"""A tick without any registered experiment reads its reports and is completed."""

from __future__ import annotations

from et_pipeline_tests.job.conftest import World


def test_a_tick_whose_only_plan_is_refused_goes_on(world: World) -> None:
    (world.folder / "experiments" / "wrong.yaml").write_text("experiment_id: wrong\n", encoding="utf-8")
    result = world.tick()
    assert result.success
    assert world.failed_checks(result) == {"plans_valid"}
    assert world.tick().success
