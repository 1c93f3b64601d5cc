"""containers-policy.json(5): what is not accepted is not fetched. skopeo is asked the same, of the same policies."""

import json
import shutil
import subprocess

import pytest
from conftest import over_etc
from images import Image, tar

ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
SIGNED = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"}]


def docker(default, **scopes):
    """A policy of docker:// alone; in a scope, HOST is the registry."""
    return {"default": default, "transports": {"docker": scopes}}


POLICIES = [
    (True, {"default": ACCEPT}),
    (False, {"default": REJECT}),
    (False, {"default": SIGNED}),
    (False, {"default": ACCEPT + REJECT}),
    (False, {"default": ACCEPT + SIGNED}),
    (False, {"default": []}),
    (False, {}),
    (False, docker(ACCEPT, HOST=REJECT)),
    (False, docker(ACCEPT, **{"": REJECT})),
    (False, docker(ACCEPT, **{"": SIGNED})),
    (False, docker(ACCEPT, **{"*.0.0.1": REJECT})),
    (True, docker(ACCEPT, **{"*.0.1": ACCEPT, "": REJECT})),
    (True, docker(REJECT, **{"HOST/test": ACCEPT})),
    (True, docker(REJECT, **{"HOST/test:1": ACCEPT, "HOST/test": REJECT})),
    (False, docker(ACCEPT, **{"HOST/test:1": REJECT, "HOST": ACCEPT})),
    (True, docker(ACCEPT, **{"HOST/tes": REJECT, "HOST/test:2": REJECT})),
    (True, {"default": ACCEPT, "transports": {"oci": {"": REJECT}}}),
]


def write_policy(pyfetch, policy, host=""):
    file = pyfetch.home / ".config/containers/policy.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(policy).replace("HOST", host))
    return file


@pytest.mark.parametrize(("accepted", "policy"), POLICIES)
def test_a_policy_decides_as_it_does_for_skopeo(pyfetch, registry, accepted, policy):
    name = registry.add(Image(tar("x")))
    file = write_policy(pyfetch, policy, registry.host)
    if not accepted:
        status, error = pyfetch.fails(name)
        assert (status, registry.requests) == (2, [])
        assert "--insecure-policy" in error
    assert pyfetch.ok(name, *([] if accepted else ["--insecure-policy"]))

    if shutil.which("skopeo"):
        copy = ["skopeo", "--policy", file, "copy", "--src-tls-verify=false", f"docker://{name}"]
        assert (subprocess.run([*copy, f"dir:{pyfetch.folder}/dir"], capture_output=True).returncode == 0) == accepted


@pytest.mark.needs("root")
def test_the_policy_of_the_machine_is_for_users_without_one(pyfetch, registry):
    folder = pyfetch.folder / "etc/containers"
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps({"default": REJECT}))
    over_etc(pyfetch)
    name = registry.add(Image(tar("x")))

    assert "rejected by policy" in pyfetch.fails(name)[1]
    write_policy(pyfetch, {"default": ACCEPT})
    assert pyfetch.ok(name)


@pytest.mark.parametrize("scope", ["", "{layout}", "{layout}:x", "{parent}"])
def test_a_policy_is_about_layouts_too(pyfetch, scope):
    layout = Image(tar("x")).write_layout(pyfetch.folder / "layout", "x")
    scope = scope.format(layout=layout, parent=pyfetch.folder)
    write_policy(pyfetch, {"default": ACCEPT, "transports": {"oci": {scope: REJECT}}})

    assert "rejected by policy" in pyfetch.fails("oci:layout:x")[1]


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_an_archive_on_standard_input_may_be_either(pyfetch, transport):
    write_policy(pyfetch, {"default": ACCEPT, "transports": {transport: {"": REJECT}}})

    assert "rejected by policy" in pyfetch.fails("-", input="")[1]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"default": "x"}', '{"default": [{"type": 1}]}', '{"default": [], "transports": {"docker": []}}'],
)
def test_a_policy_that_is_none_is_refused_by_name(pyfetch, registry, text):
    name = registry.add(Image(tar("x")))
    write_policy(pyfetch, {}).write_text(text)
    status, error = pyfetch.fails(name)

    assert (status, registry.requests) == (2, [])
    assert "containers/policy.json: " in error


@pytest.mark.needs("root")
def test_what_is_in_the_store_needs_no_leave(pyfetch, registry):
    image = Image(tar("x"))
    name = registry.add(image).rpartition(":")[0] + f"@{image.digest}"
    pyfetch.ok(name)
    write_policy(pyfetch, {"default": REJECT})

    assert pyfetch.ok(name)
