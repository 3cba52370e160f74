"""The table of features and the classes it names."""

from __future__ import annotations

import pytest

from lbproxy.features import FEATURES, BuiltIn, all_features, features_of


@pytest.mark.parametrize("one", FEATURES, ids=lambda one: one.name)
def test_a_class_declares_what_the_table_says(one: BuiltIn) -> None:
    """Keys of the class alone would never become keys of the configuration."""
    kind = one.load()
    assert kind.name == one.name
    assert (kind.owner, kind.Keys, kind.sections) == (
        one.declares.owner,
        one.declares.Keys,
        one.declares.sections,
    )


def test_the_order_is_that_of_the_table() -> None:
    built_in = [one.name for one in FEATURES]
    assert [kind.name for kind in all_features()][: len(built_in)] == built_in
    assert "cache" in [kind.name for kind in features_of("route")]
