"""How `make test` spreads the tests over its workers."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("distribution")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one worker")
def test_a_group_shares_a_worker(request: pytest.FixtureRequest) -> None:
    """Where xdist forgets the groups, nothing fails, but each worker makes every expensive fixture for itself."""
    assert request.node.nodeid.endswith("@distribution"), "pytest and xdist do not fit together"
