"""Short names, as registries.conf of podman and skopeo has them."""

import json

import pytest
from images import Image, tar


@pytest.fixture
def conf(pyfetch):
    """Write registries.conf, in which all registries are insecure."""

    def write(text):
        path = pyfetch.home / ".config/containers/registries.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_an_alias_stands_for_a_full_name_with_any_tag(pyfetch, registry, conf):
    image = Image(tar("x"))
    registry.add(image)
    conf(f'[aliases]\n"box" = "{registry.host}/test"\n')

    assert pyfetch.ok("--no-bundle", "box:1") == f"{registry.host}/test:1"
    assert pyfetch.ok("--no-bundle", f"box@{image.digest}") == f"{registry.host}/test@{image.digest}"
    assert json.loads(pyfetch.ok("inspect", "box:1"))["digest"] == image.digest
    assert pyfetch.ok("tags", "box") == "1"


def test_an_empty_alias_removes_an_earlier_one(pyfetch, registry, conf):
    conf(f'unqualified-search-registries = ["{registry.host}"]\n[aliases]\n"test" = "nowhere.invalid/x"\n')
    folder = pyfetch.home / ".config/containers/registries.conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text('[aliases]\n"test" = ""\n')
    registry.add(Image(tar("x")))

    assert pyfetch.ok("--no-bundle", "test:1") == f"{registry.host}/test:1"


def test_the_registries_for_short_names_are_tried_in_order(pyfetch, registry, receiver, conf):
    receiver.add(Image(tar("x")), "2")
    conf(f'unqualified-search-registries = ["{registry.host}", "{receiver.host}"]\n')
    done = pyfetch.run("--no-bundle", "test:2")

    assert done.stdout == f"{receiver.host}/test:2\n"
    assert "trying the next registry" in done.stderr
    assert pyfetch.fails("--no-bundle", "test:3")[0] == 3
    assert pyfetch.fails("tags", "test")[0] == 2


def test_a_registry_that_cannot_be_reached_is_not_passed_over(pyfetch, receiver, conf):
    receiver.add(Image(tar("x")))
    conf(f'unqualified-search-registries = ["127.0.0.1:1", "{receiver.host}"]\n')

    assert pyfetch.fails("test:1", "--retries", "0")[0] == 5  # another one's image could be anybody's


def test_an_enforcing_mode_lets_the_user_choose(pyfetch, registry, conf):
    conf('short-name-mode = "enforcing"\nunqualified-search-registries = ["a.example", "b.example"]\n')
    status, error = pyfetch.fails("test")

    assert (status, "choose one of a.example/test b.example/test" in error) == (2, True)


def test_what_has_a_registry_or_a_transport_is_no_short_name(pyfetch, registry, conf):
    registry.add(Image(tar("x")))
    conf(f'unqualified-search-registries = ["{registry.host}"]\n[aliases]\n"layout" = "nowhere.invalid/x"\n')
    Image(tar("y")).write_layout(pyfetch.folder / "layout", "x")

    assert pyfetch.ok("--no-bundle", "oci:layout:x").startswith("oci:")
    assert pyfetch.ok("--no-bundle", f"{registry.host}/test:1") == f"{registry.host}/test:1"
