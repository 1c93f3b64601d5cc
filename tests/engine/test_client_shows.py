"""What pyrund's own client shows beside what docker's does, of the same containers and images."""

import pytest
from clients import assert_same
from daemon import wait_until


@pytest.fixture(scope="module")
def shown(engine):
    """The daemon with a container that runs and one that has ended."""
    engine.ok("run", "--name", "old", "--network=none", "busybox", "true")
    program = "echo one; echo two >&2; sleep 1000"
    options = ("--name", "web", "--network=none", "-l", "a=b", "-l", "c", "-v", "/tmp:/x")
    engine.ok("run", "-d", *options, "busybox", "sh", "-c", program)
    wait_until(lambda: "two" in engine.docker("logs", "web").stderr, "the output")
    return engine


@pytest.mark.parametrize(
    "words",
    [
        ("ps",),
        ("ps", "-a"),
        ("ps", "-aq"),
        ("ps", "-a", "--no-trunc"),
        ("ps", "-as"),
        ("ps", "-a", "--filter", "name=web"),
        ("ps", "-a", "--format", '{{.Names}} {{.ID}} {{.Label "a"}} {{.State}} {{upper .Image}}'),
        ("ps", "-a", "--format", "table {{.Names}}\\t{{.Command}}\\t{{.Mounts}}"),
        ("ps", "-n", "1"),
        ("images",),
        ("images", "--digests"),
        ("images", "-q", "--no-trunc"),
        ("images", "busybox"),
        ("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"),
        ("inspect", "web", "old"),
        ("inspect", "-f", "{{.Id}} {{.Size}} {{.Os}}", "busybox"),  # older versions of the API have more
        ("inspect", "-s", "-f", "{{.SizeRw}}", "web"),
        ("inspect", "-f", "{{.Name}} {{json .Config.Labels}} {{len .Args}} {{index .Args 0}}", "web"),
        ("inspect", "-f", "{{range $k, $v := .Config.Labels}}[{{$k}}={{$v}}]{{end}}", "web"),
        ("inspect", "-f", '{{if eq .State.Status "running"}}up{{else}}down{{end}}', "web", "old"),
        ("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "web"),
        ("inspect", "-f", '{{.HostConfig.Binds | json}} {{.State.Running | printf "%v"}}', "web"),
        ("inspect", "-f", "{{with .State}}{{.Status}}{{end}} {{ .Config.Image -}}  .", "web"),
        ("inspect", "nosuch"),
        ("inspect", "--type", "image", "nosuch"),
        ("top", "web"),
        ("top", "web", "-o", "pid,args"),
        ("logs", "web"),
        ("logs", "--tail", "1", "-t", "web"),
        ("logs", "--since", "2020-01-01T00:00:00", "--until", "1h", "web"),
        ("logs", "nosuch"),
        ("wait", "old"),
        ("wait", "old", "nosuch"),
        ("exec", "web", "sh", "-c", "echo out; echo error >&2; exit 4"),
        ("exec", "-e", "A=b", "-w", "/tmp", "-u", "7", "web", "sh", "-c", "echo $A; pwd; id -u"),
        ("exec", "nosuch", "true"),
        ("exec", "old", "true"),
        ("start", "web"),
        ("start", "nosuch"),
        ("kill", "old"),
        ("rm", "web"),
        ("rm", "nosuch"),
        ("rm", "-f", "nosuch"),
        ("attach", "old"),
        ("rmi", "nosuch"),
        ("rmi", "busybox"),
        ("events", "--since", "1", "--until", "2"),
        ("events", "--since", "1h", "--until", "0s", "--filter", "container=web", "--format", "{{.Action}}"),
        ("info", "--format", "{{.Driver}} {{.NCPU}} {{json .Swarm.LocalNodeState}}"),
        ("version", "--format", "{{.Server.Version}}"),
        ("ps", "--filter", "nosuch=1"),
    ],
    ids=" ".join,
)
def test_a_verb_prints_what_docker_prints(shown, words):
    assert_same(shown, *words)
