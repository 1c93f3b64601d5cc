from hypothesis import given
from hypothesis import strategies as st

from pyrun.rootfs.options import ATTRIBUTES, PROPAGATION, RECURSIVE_ATTRIBUTES, SUPERBLOCK, MountOptions

NAMES = [*ATTRIBUTES, *RECURSIVE_ATTRIBUTES, *PROPAGATION, *SUPERBLOCK, "defaults", "size=1m", "newinstance"]


def meaning(options):
    return options.attributes, options.recursive, options.propagations, options.superblock, options.data


@given(st.lists(st.sampled_from(NAMES)))
def test_the_names_of_options_mean_what_the_options_mean(given_options):
    options = MountOptions(given_options)

    assert meaning(MountOptions(options.names())) == meaning(options)


def test_an_option_that_a_later_one_takes_back_is_not_named():
    assert MountOptions(["ro", "noatime", "rw", "relatime", "rro"]).names() == ["rw", "relatime", "rro"]


def test_no_options_have_no_names():
    assert MountOptions(["defaults"]).names() == []
