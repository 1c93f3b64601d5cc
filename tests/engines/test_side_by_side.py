"""One script of docker and podman commands, run on pyrun and on runc under the same daemon: users notice nothing."""

import re
import shlex

import pytest
from tools import needs

pytestmark = needs("dockerd", "docker", "containerd", "podman", "conmon", "catatonit", "runc", "ip")

# `run` and `create` are of the runtime whose turn it is.
SCRIPT = r"""
run --rm busybox sh -c 'echo out; echo err >&2; exit 3'
run --rm busybox nosuch
run --rm busybox /etc
run --rm --nosuch busybox
run --rm -w /etc/passwd busybox true
run --rm busybox grep -e Umask -e Groups -e Cap -e Sig[BIC] -e NoNew -e Seccomp: /proc/self/status
run --rm busybox sh -c 'cut -d " " -f 5 /proc/self/mountinfo | grep -v -e /sys/fs/cgroup | sort'
run --rm busybox sh -c 'ls -l /dev | tr -s " " | cut -d " " -f 1-6,10-'
run --rm --env HOME=/h busybox sh -c 'env | grep -v HOSTNAME | sort'
run --detach --name one busybox sh -c 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done'
run --name one busybox true
ps --format '{{.Names}} {{.Image}}'
inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.Config.Cmd}}' one
logs one
exec one sh -c 'echo in; exit 5'
exec one nosuch
exec one /etc/passwd
exec -w /nosuch one pwd
exec -u nosuch one true
exec -t -e A=b one sh -c 'tty; echo $A'
exec one sh -c 'kill -15 $$'
top nosuch
pause one
exec one true
unpause one
unpause one
kill --signal nosuch one
stop one
wait one
inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' one
exec one true
kill one
start one
restart --time 1 one
kill --signal 9 one
wait one
rm one
create --name two --hostname h busybox hostname
start --attach two
logs two
cp two:/etc/group -
rm two
rm two
"""
# What a runtime calls itself, which of its steps it was at, and what pyrun adds to a sentence of runc's.
WORDING = re.compile(
    r"runc create failed: |exec failed: |unable to start container process: |\b(?:runc|pyrun)(?=: )"
    r"|(?<=permission denied)(?!: unknown|: OCI): .*?(?=: unknown|: OCI|$)",
    re.MULTILINE,
)


@pytest.mark.parametrize("dockers_or_podmen", ["dockers", "podmen"])
def test_a_script_has_the_same_output_and_exit_codes(request, dockers_or_podmen):
    engines = request.getfixturevalue(dockers_or_podmen)
    ours, theirs = (transcript(engines[runtime]) for runtime in ("pyrun", "runc"))

    assert ours == theirs


def transcript(engine):
    lines = []
    for words in (shlex.split(line) for line in SCRIPT.strip().splitlines()):
        call = {"run": engine.run, "create": engine.create}.get(words[0])
        result = call(*words[1:]) if call else engine(*words)
        lines.append((" ".join(words), result.status, WORDING.sub("", result.output)))
    return lines
