"""login and logout: what is kept, where, and that docker, skopeo and pyfetch find it."""

import json
import os
import stat
import subprocess

import pytest
from conftest import push
from images import Image, tar
from test_auth import basic, helper, write_config

LOGIN = ("--username", "me", "--password-stdin")


def config(pyfetch, path=".docker/config.json"):
    with open(pyfetch.home / path) as file:
        return json.load(file)


def test_a_login_is_kept_for_all_commands_until_the_logout(pyfetch, locked_registry, tmp_path):
    name = push(Image(tar("x")), tmp_path / "layout", f"{locked_registry}/kept:1", "--dest-creds", "me:secret")
    done = pyfetch.run("login", locked_registry, *LOGIN, input="secret\n")

    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
    assert "stored unencrypted" in done.stderr
    assert config(pyfetch) == {"auths": {locked_registry: {"auth": basic("me", "secret")[6:]}}}
    assert stat.S_IMODE(os.stat(pyfetch.home / ".docker/config.json").st_mode) == 0o600
    assert pyfetch.ok("tags", f"{locked_registry}/kept") == "1"
    skopeo = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"]
    subprocess.run(skopeo, env=pyfetch.environment, check=True, capture_output=True)
    assert pyfetch.ok("logout", locked_registry) == f"Removing login credentials for {locked_registry}"
    assert pyfetch.fails("tags", f"{locked_registry}/kept")[0] == 4
    assert pyfetch.ok("logout", locked_registry) == f"Not logged in to {locked_registry}"


def test_a_login_that_the_registry_refuses_is_not_kept(pyfetch, locked_registry):
    status, error = pyfetch.fails("login", locked_registry, *LOGIN, input="wrong\n")

    assert (status, "unauthorized" in error) == (4, True)
    assert not (pyfetch.home / ".docker").exists()
    assert not pyfetch.store.exists()


def test_docker_takes_a_login_of_ours_and_we_take_one_of_docker(pyfetch, locked_registry, docker):
    environment = {**pyfetch.environment, "DOCKER_CONFIG": str(pyfetch.home / ".docker")}
    command = [*docker.command, "login", "-u", "me", "--password-stdin", locked_registry]
    pyfetch.ok("login", locked_registry, *LOGIN, input="secret")
    ours = config(pyfetch)
    (pyfetch.home / ".docker/config.json").unlink()
    subprocess.run(command, input=b"secret", env=environment, check=True, capture_output=True)

    assert config(pyfetch) == ours
    assert pyfetch.ok("logout", locked_registry).startswith("Removing")


def test_what_else_is_in_the_file_stays(pyfetch, locked_registry):
    others = {"psFormat": "x\u00e9", "auths": {"other.example": {"auth": "YTpi"}}, "HttpHeaders": {"a": "b"}}
    old = {f"https://{locked_registry}/v2/": {"auth": "YTpi"}}
    write_config(pyfetch, {**others, "auths": {**others["auths"], **old}})
    pyfetch.ok("login", locked_registry, *LOGIN, input="secret")

    assert config(pyfetch)["auths"].keys() == {"other.example", locked_registry}
    pyfetch.ok("logout", locked_registry)
    assert config(pyfetch) == others


def test_a_login_goes_where_an_older_one_would_hide_it(pyfetch, locked_registry):
    path = ".config/containers/auth.json"
    write_config(pyfetch, {"auths": {locked_registry: {"auth": basic("me", "old")[6:]}}}, path)
    pyfetch.ok("login", locked_registry, *LOGIN, input="secret")

    assert config(pyfetch, path)["auths"][locked_registry]["auth"] == basic("me", "secret")[6:]
    assert not (pyfetch.home / ".docker").exists()


def test_a_file_may_be_named_and_may_be_a_link(pyfetch, locked_registry):
    (pyfetch.home / "settings").mkdir()
    (pyfetch.home / "link.json").symlink_to("settings/real.json")
    place = ("--authfile", pyfetch.home / "link.json")
    pyfetch.ok("login", locked_registry, *LOGIN, *place, input="secret")

    assert (pyfetch.home / "link.json").is_symlink()
    assert locked_registry in config(pyfetch, "settings/real.json")["auths"]
    assert pyfetch.fails("tags", f"{locked_registry}/nothing", *place)[0] == 3
    pyfetch.ok("logout", locked_registry, *place)
    assert config(pyfetch, "settings/real.json") == {"auths": {}}


HELPER = """
echo "$1" >>$0.log
case $1 in
    store) cat >$0.secret ;;
    get) [ -e $0.secret ] || { echo credentials not found in native keychain; exit 1; }; cat $0.secret ;;
    erase) read server; echo "$server" >>$0.log; rm -f $0.secret ;;
esac
"""


@pytest.mark.parametrize("setting", ["credHelpers", "credsStore"])
def test_a_helper_keeps_the_password(pyfetch, locked_registry, setting):
    helper(pyfetch, "test", HELPER)
    write_config(pyfetch, {setting: {locked_registry: "test"} if setting == "credHelpers" else "test"})
    done = pyfetch.run("login", locked_registry, *LOGIN, input='se"cret')
    assert done.returncode == 4

    done = pyfetch.run("login", locked_registry, *LOGIN, input="secret")
    with open(pyfetch.folder / "bin/docker-credential-test.secret") as file:
        assert json.load(file) == {"ServerURL": locked_registry, "Username": "me", "Secret": "secret"}
    assert "unencrypted" not in done.stderr
    assert config(pyfetch)["auths"] == {locked_registry: {}}
    assert pyfetch.fails("tags", f"{locked_registry}/nothing")[0] == 3  # the password is right
    assert pyfetch.ok("logout", locked_registry).startswith("Removing")
    assert pyfetch.fails("tags", f"{locked_registry}/nothing")[0] == 4


def test_a_helper_that_fails_keeps_nothing_and_says_so(pyfetch, locked_registry):
    helper(pyfetch, "test", "echo the vault is sealed; exit 1")
    write_config(pyfetch, {"credsStore": "test"})
    status, error = pyfetch.fails("login", locked_registry, *LOGIN, input="secret")

    assert (status, "error storing credentials" in error and "the vault is sealed" in error) == (4, True)
    assert "auths" not in config(pyfetch)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a/b",), "expected a registry"),
        (("-x.example",), "unknown option"),
        (("x.example", "--password-stdin"), "--password-stdin needs --username"),
        (("x.example", "-u", "me", "--password-stdin"), "there is no password on standard input"),
        (("x.example", "-u", "me"), "Cannot perform an interactive login from a non TTY device"),
    ],
)
def test_a_login_without_what_it_takes_is_refused(pyfetch, words, expected):
    status, error = pyfetch.fails("login", *words, input="")

    assert (status, expected in error) == (2, True)


def test_docker_hub_is_the_default_registry(pyfetch):
    write_config(pyfetch, {"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}}})

    assert pyfetch.ok("logout") == "Removing login credentials for docker.io"
    assert config(pyfetch) == {"auths": {}}
