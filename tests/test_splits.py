from hypothesis import given
from hypothesis import strategies as st

from pipeline.splits import ValidationConfig, in_validation, place_of


@given(st.text(), st.integers(0, 2**31), st.text())
def test_a_place_is_fixed_and_in_the_unit_interval(group, seed, split):
    assert 0 <= place_of(group, seed, split) < 1
    assert place_of(group, seed, split) == place_of(group, seed, split)


def test_the_share_of_groups_held_out_is_the_share_asked_for():
    config = ValidationConfig(share=0.1)
    held = sum(in_validation(f"package-{i}", 3, config) for i in range(20_000))
    assert 0.09 < held / 20_000 < 0.11


def test_two_splits_are_independent():
    groups = [f"package-{i}" for i in range(20_000)]
    both = sum(place_of(g, 0, "label") < 0.2 and place_of(g, 0, "validation") < 0.2 for g in groups)
    assert 0.035 < both / 20_000 < 0.045
