"""`docker build` by the classic builder: instructions, options, what the client sees, failures."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from urllib.parse import quote

import pytest
from builds import build, leftovers, run
from daemon import kill, wait_until
from web_server import WebServer

pytestmark = pytest.mark.usefixtures("removed")


@pytest.fixture
def context(tmp_path):
    """Return a function that makes a context of a Dockerfile and of files {path: text}."""
    folder = tmp_path / "context"

    def make(dockerfile, files=()):
        for name, text in {"Dockerfile": dockerfile, **dict(files)}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


def test_the_output_is_dockers(engine, context):
    folder = context('FROM busybox\nRUN echo hi > /x && echo oops >&2\nCMD ["cat", "/x"]\n')

    shown = build(engine, folder, "-t", "out:1")

    id_ = engine.inspect("out:1", ".Id")
    lines = [line for line in shown.splitlines() if "DEPRECATED" not in line and line.strip()]
    assert [line for line in lines if line.startswith("Step")] == [
        "Step 1/3 : FROM busybox",
        "Step 2/3 : RUN echo hi > /x && echo oops >&2",
        'Step 3/3 : CMD ["cat", "/x"]',
    ]
    assert f" ---> {engine.inspect('busybox', '.Id')[7:19]}" in lines
    assert any(line.startswith(" ---> Running in ") for line in lines)
    assert "Removing intermediate container " in shown and "\033[91moops" in shown
    assert lines[-2:] == [f"Successfully built {id_[7:19]}", "Successfully tagged out:1"]
    assert run(engine, "out:1") == "hi"
    engine.ok("rmi", "out:1")


SETTINGS = """# escape=`
# syntax=docker/dockerfile:1
FROM busybox AS base
MAINTAINER me <m@e>
ENV A=1 B="two words" C='$A'
ENV D $A and more
LABEL one="1" "two"=2
ARG PORT=8080
EXPOSE $PORT 53/udp 9000-9001
VOLUME /data /x
VOLUME ["/list one", "/two"]
WORKDIR /srv
WORKDIR app
USER web:web
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=1m30s --timeout=5s --retries=2 CMD true || false
ONBUILD RUN echo $A
ENTRYPOINT ["/bin/echo", `
# a comment between
    "entry"]
CMD word $A
"""


def test_settings_are_in_the_config_of_the_image(engine, context):
    build(engine, context(SETTINGS), "-t", "settings", "--label", "l=it's m")

    shown = engine.inspect("settings", ".")
    config = shown["Config"]
    assert shown["Author"] == "me <m@e>"
    assert config["Env"] == ["PATH=/bin", "FROM=image", "A=1", "B=two words", "C=$A", "D=1 and more"]
    assert config["Labels"] == {"one": "1", "two": "2", "l": "it's m"}
    assert sorted(config["ExposedPorts"]) == ["53/udp", "8080/tcp", "9000/tcp", "9001/tcp"]
    assert sorted(config["Volumes"]) == ["/data", "/list one", "/two", "/x"]
    assert (config["WorkingDir"], config["User"], config["StopSignal"]) == ("/srv/app", "web:web", "SIGINT")
    assert config["Shell"] == ["/bin/sh", "-ec"] and config["OnBuild"] == ["RUN echo $A"]
    times = {"Interval": 90 * 10**9, "Timeout": 5 * 10**9, "Retries": 2}
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true || false"], **times}
    assert config["Entrypoint"] == ["/bin/echo", "entry"] and config["Cmd"] == ["/bin/sh", "-ec", "word $A"]
    made = [one["CreatedBy"] for one in engine.call("GET", "/images/settings/history")[1]]
    assert made[1] == '/bin/sh -ec #(nop)  CMD ["/bin/sh" "-ec" "word $A"]'
    assert "/bin/sh -c #(nop)  ENV A=1 B=two words C=$A" in made
    engine.ok("rmi", "settings")


def test_an_entrypoint_removes_the_command_of_the_base_image(engine, context):
    build(engine, context('FROM busybox\nENTRYPOINT ["echo"]\n'), "-t", "entry")

    assert engine.call("GET", "/images/entry/json")[1]["Config"].get("Cmd") is None
    engine.ok("rmi", "entry")


ARGUMENTS = r"""
ARG BASE=nosuch TAG=latest
FROM ${BASE}:$TAG
ARG WHO=me
ARG TAG
ARG UNSET
ENV FROM_ARG=${WHO}-${TAG} DEFAULT=${NO:-d$WHO} SET=${WHO:+set} NONE=${NO:+x} ESCAPED=\$WHO WHO2="$WHO"
RUN echo "$WHO $TAG [$UNSET] $http_proxy" > /args; env | grep -c UNSET > /unset || true
ENV WHO=env
RUN echo $WHO >> /args
"""


def test_variables_and_arguments(engine, context):
    options = ["--build-arg", "BASE=busybox", "--build-arg", "WHO=you", "--build-arg", "http_proxy=p:1"]
    shown = build(engine, context(ARGUMENTS), "-t", "args", *options, "--build-arg", "NOBODY=1")

    assert "[Warning] One or more build-args [NOBODY] were not consumed" in shown
    assert run(engine, "args", "cat", "/args", "/unset").split("\n") == ["you latest [] p:1", "env", "0"]
    assert engine.inspect("args", ".Config.Env")[2:] == [
        "FROM_ARG=you-latest",
        "DEFAULT=dyou",
        "SET=set",
        "NONE=",
        "ESCAPED=$WHO",
        "WHO2=you",
        "WHO=env",
    ]
    made = [one["CreatedBy"] for one in engine.call("GET", "/images/args/history")[1]]
    assert made[2].startswith("|2 TAG=latest WHO=you /bin/sh -c echo") and "p:1" not in "".join(made)
    engine.ok("rmi", "args")


COPIES = """
FROM busybox
WORKDIR /w
COPY one.txt two.txt ./
COPY one.txt renamed
COPY dir /copied
COPY dir/*.c /sources/
COPY --chown=web:mail --chmod=640 one.txt /owned/new/
COPY --chown=33 dir /owned/dir/
COPY ["one.txt", "/with space/"]
COPY dir/ /bin/
COPY . /all/
COPY link.txt /followed
RUN stat -c '%n %U %G %a' /owned/new /owned/new/one.txt /w/one.txt /owned/dir/a.c > /stat
"""


@pytest.mark.parametrize(
    "text, template, value",
    [
        ('ENV V="/a /b"\nVOLUME $V', ".Config.Volumes", {"/a /b": {}}),
        ("ENV A b\tc  d", "(index .Config.Env 2)", "A=b\tc  d"),
        ("ENV A=b\\\\\nENV B=c", "(index .Config.Env 2)", "A=b\\"),
        ('MAINTAINER "me" $PATH', ".Author", '"me" $PATH'),
        (f"CMD {'[' * 20_000}", "(len (index .Config.Cmd 2))", 20_000),
    ],
    ids=["volume", "tab", "two escapes", "maintainer", "brackets"],
)
def test_words_are_dockers(engine, context, text, template, value):
    build(engine, context(f"FROM busybox\n{text}\n"), "-t", "words")

    assert engine.inspect("words", template) == value
    engine.ok("rmi", "words")


def test_a_name_in_a_variable_may_have_a_blank(engine, context):
    text = 'FROM busybox\nARG NAME="a b"\nCOPY --chown=3\t$NAME /c\nADD ["$NAME", "/d"]\n'
    build(engine, context(text, {"a b": "it"}), "-t", "blank")

    assert run(engine, "blank", "sh", "-c", "stat -c %u /c; cat /c /d") == "3\nitit"
    engine.ok("rmi", "blank")


def test_copy_takes_files_directories_patterns_and_owners(engine, context):
    folder = context(COPIES, {"one.txt": "1", "two.txt": "2", "dir/a.c": "a", "dir/b.c": "b", "dir/sub/c.h": "c"})
    (folder / "link.txt").symlink_to("one.txt")
    build(engine, folder, "-t", "copied")

    files = "renamed one.txt two.txt /copied/sub/c.h /sources/a.c '/with space/one.txt'"
    assert run(engine, "copied", "sh", "-c", f"cat {files}") == "112ca1"
    listed = run(engine, "copied", "ls", "/sources", "/all/dir").split()
    assert listed == ["/all/dir:", "a.c", "b.c", "sub", "/sources:", "a.c", "b.c"]
    assert run(engine, "copied", "cat", "/stat").split("\n") == [
        "/owned/new web mail 755",
        "/owned/new/one.txt web mail 640",
        "/w/one.txt root root 644",
        "/owned/dir/a.c web UNKNOWN 644",
    ]
    assert run(engine, "copied", "cat", "/followed", "/bin/a.c") == "1a"  # and busybox is still in /bin
    assert run(engine, "copied", "ls", "-l", "/all/link.txt").endswith("-> one.txt")
    engine.ok("rmi", "copied")


def test_a_link_at_the_end_of_a_target_is_followed(engine, context):
    links = {"file": "/etc/file", "relative": "../etc/relative", "missing": "/made/file", "folder": "/made/folder"}
    script = "; ".join(
        ["mkdir /l", *(f"ln -s {target} /l/{name}" for name, target in links.items()), "echo old > /etc/file"]
    )
    copies = "".join(f"COPY f /l/{name}{'/' if name == 'folder' else ''}\n" for name in links)
    text = f"FROM busybox\nRUN {script}\nRUN ln -s loop /loop\n{copies}"
    build(engine, context(text, {"f": "new"}), "-t", "linked")

    command = "ls -l /l | grep -c ^l; cat /etc/file /etc/relative /made/file /made/folder/f"
    assert run(engine, "linked", "sh", "-c", command) == "4\nnewnewnewnew"
    assert "too many levels of symbolic links" in build(engine, context(f"{text}COPY f /loop\n", {"f": ""}), status=1)
    engine.ok("rmi", "linked")


def test_labels_of_the_client_are_taken_as_they_are(engine, context):
    build(engine, context("FROM busybox\nENV X=1\n"), "-t", "labelled", "--label", "a$X'\"=c'\"\\$X", "--label", "b")

    assert engine.inspect("labelled", ".Config.Labels") == {"a$X'\"": "c'\"\\$X", "b": ""}
    engine.ok("rmi", "labelled")


def test_add_unpacks_archives_and_copies_what_is_none(engine, context):
    dockerfile = "FROM busybox\nADD files.tar.gz /unpacked/\nADD plain.txt fake.tar.gz /\nCOPY files.tar.gz /packed/\n"
    folder = context(dockerfile, {"plain.txt": "p", "fake.tar.gz": "no archive"})
    with tarfile.open(folder / "files.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("d/inside")
        member.size, member.uid = 2, 33
        archive.addfile(member, io.BytesIO(b"in"))

    build(engine, folder, "-t", "added")

    assert run(engine, "added", "cat", "/unpacked/d/inside", "/plain.txt", "/fake.tar.gz") == "inpno archive"
    assert run(engine, "added", "stat", "-c", "%u", "/unpacked/d/inside") == "33"
    assert run(engine, "added", "ls", "/packed") == "files.tar.gz"
    engine.ok("rmi", "added")


STAGES = """
FROM busybox AS build
RUN mkdir /out && echo built > /out/x && chown 33:34 /out/x
FROM build AS tested
RUN grep built /out/x
FROM scratch
COPY --from=busybox /bin/busybox /bin/busybox
COPY --from=build /out /
COPY --from=1 /out/x /again
CMD ["/bin/busybox", "cat", "/x", "/again"]
"""


def test_stages_give_files_to_each_other(engine, context):
    build(engine, context(STAGES), "-t", "staged")
    target = build(engine, context(STAGES), "-t", "target", "--target", "build")

    assert run(engine, "staged") == "built\nbuilt"
    assert run(engine, "staged", "/bin/busybox", "stat", "-c", "%u:%g", "/x") == "33:34"
    assert run(engine, "target", "cat", "/out/x") == "built"
    assert "failed to reach build target 0" in build(engine, context(STAGES), "--target", "0", status=1)
    assert "Step 2/2" in target and "nosuch" in build(engine, context(STAGES), "--target", "nosuch", status=1)
    engine.ok("rmi", "staged", "target")


TEXTS = """
FROM busybox
ENV WHO=me
RUN <<EOF
echo one > /texts
echo $WHO >> /texts
EOF
RUN cat <<-X >> /texts && echo after >> /texts
\ttabbed
\tX
COPY <<a <<"b" /d/
hello "$WHO"
a
hello $WHO
b
"""


def test_texts_in_the_dockerfile(engine, context):
    build(engine, context(TEXTS), "-t", "texts")

    assert run(engine, "texts", "cat", "/texts").split() == ["one", "me", "tabbed", "after"]
    assert run(engine, "texts", "cat", "/d/a", "/d/b") == 'hello "me"\nhello $WHO'
    engine.ok("rmi", "texts")


SCRIPTS = """
FROM busybox
ENV WHO=me
USER 1234
RUN <<EOF
#!/bin/cat
$WHO is not replaced
EOF
USER 0
RUN <<"X"
#!/bin/sh -e
echo "$0 of $WHO" > /made
(! touch "$0") 2> /dev/null
X
"""


def test_a_text_that_names_an_interpreter_is_a_script_for_it(engine, context):
    shown = build(engine, context(SCRIPTS), "-t", "scripted")

    assert "#!/bin/cat\n$WHO is not replaced\n" in shown
    assert run(engine, "scripted", "cat", "/made").split() == ["/dev/pipes/X", "of", "me"]
    assert "pipes" not in run(engine, "scripted", "ls", "/dev")
    assert engine.call("GET", "/images/scripted/history")[1][0]["CreatedBy"].startswith("#!/bin/sh -e\n")
    assert build(engine, context(SCRIPTS), "-t", "scripted").count("Using cache") == 5
    build(engine, context(SCRIPTS.replace("$0 of", "$0 by")), "-t", "scripted")
    assert run(engine, "scripted", "cat", "/made") == "/dev/pipes/X by me"
    engine.ok("rmi", "scripted")


def test_a_script_that_fails_ends_the_build_with_its_status(engine, context):
    shown = build(engine, context("FROM busybox\nRUN <<EOF\n#!/bin/sh\nexit 3\nEOF\n"), status=3)

    assert "The command '/dev/pipes/EOF' returned a non-zero code: 3" in shown


def test_triggers_of_a_base_image_are_done_once(engine, context):
    build(engine, context("FROM busybox\nONBUILD COPY f /f\nONBUILD RUN echo more >> /f\n"), "-t", "base")

    shown = build(engine, context("FROM base\nRUN cat /f\n", {"f": "text "}), "-t", "child")

    assert "# Executing 2 build triggers" in shown
    assert run(engine, "child", "cat", "/f") == "text more"
    assert not engine.call("GET", "/images/child/json")[1]["Config"].get("OnBuild")
    engine.ok("rmi", "child", "base")


def test_the_dockerfile_comes_from_elsewhere(engine, context, tmp_path):
    other = tmp_path / "Other"
    other.write_text("FROM busybox\nCOPY f /f\n")
    folder = context("FROM nosuch\n", {"f": "file", "sub/Dockerfile.alt": "FROM busybox\nRUN echo sub > /f\n"})

    build(engine, folder, "-t", "one", "-f", str(other))
    build(engine, folder, "-t", "two", "-f", "-", input=other.read_text())
    build(engine, folder, "-t", "three", "-f", str(folder / "sub/Dockerfile.alt"))
    build(engine, "-", "-t", "four", input="FROM busybox\nRUN echo stdin > /f\n")

    names = "one", "two", "three", "four"
    assert [run(engine, name, "cat", "/f") for name in names] == ["file", "file", "sub", "stdin"]
    engine.ok("rmi", *names)


def test_a_quiet_build_prints_the_id_of_an_image_without_a_name(engine, context):
    id_ = build(engine, context("FROM busybox\nRUN echo quiet > /q\n"), "-q").split()[-1]

    assert run(engine, id_, "cat", "/q") == "quiet"
    assert id_[7:19] in engine.ok("images", "-f", "dangling=true")
    engine.ok("rmi", id_)


def test_limits_networks_and_hosts_are_those_of_the_containers(engine, context):
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    script = f"ls /sys/class/net; cat {files} 2>/dev/null; grep other /etc/hosts; ulimit -n"
    options = "--network none --memory 64m --add-host other:10.0.0.1 --ulimit nofile=77 --shm-size 1m".split()

    build(engine, context(f"FROM busybox\nRUN ({script}) > /limits; true\n"), "-t", "limits", *options)

    lines = run(engine, "limits", "cat", "/limits").split()
    assert lines[0] == "lo" and str(64 << 20) in lines and "10.0.0.1" in lines and lines[-1] == "77"
    engine.ok("rmi", "limits")


# Failures.


def test_a_command_that_fails_ends_the_build_with_its_code(engine, context):
    shown = build(engine, context("FROM busybox\nRUN echo before; exit 7\n"), "-t", "never", status=7)

    assert "before" in shown
    assert "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7" in shown
    assert engine.docker("image", "inspect", "never").returncode != 0
    assert len(engine.ok("ps", "-aq").split()) == 1  # for a look at it, as with dockerd
    engine.remove_all()
    build(engine, context("FROM busybox\nRUN exit 7\n"), "--force-rm", status=7)
    assert engine.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    "dockerfile, words",
    [
        ("FROM busybox\nRUNN x\n", "dockerfile parse error line 2: unknown instruction: RUNN"),
        ("RUN x\n", "no build stage in current context"),
        ("# nothing\n", "file with no instructions"),
        (
            "FROM busybox\nCOPY nosuch /\n",
            "COPY failed: file not found in build context or excluded by .dockerignore: "
            "stat nosuch: file does not exist",
        ),
        ("FROM busybox\nCOPY ../x /\n", "COPY failed: forbidden path outside the build context: ../x ()"),
        ("FROM busybox\nCOPY a\n", "COPY requires at least two arguments"),
        ("FROM busybox\nRUN --mount=type=cache,target=/x true\n", "the --mount option requires BuildKit"),
        ("FROM busybox\nENV A\n", "ENV must have two arguments"),
        ("FROM busybox\nENV A=12345678\n" + 40 * "ENV A=$A$A\n", "values of more than 1048576 letters in $A$A"),
        ("FROM busybox\nEXPOSE x\n", "invalid containerPort: x"),
        ('FROM busybox\nCMD ["a", 1]\n', "arrays must be comprised of strings only"),
        ("FROM busybox\nUSER nosuch\nRUN true\n", "unable to find user nosuch: no matching entries in passwd file"),
        ("FROM busybox\nCOPY --chown=nosuch Dockerfile /\n", "unable to convert uid/gid chown string"),
        ('FROM busybox\nRUN ["/nosuch"]\n', "/nosuch"),
        ("FROM busybox\nRUN <<EOF\nx\n", "unterminated heredoc"),
        ("FROM busybox\nRUN <<../x\n#!/bin/sh\n../x\n", "'../x' cannot be the name of a file"),
        ("FROM busybox AS\n", "FROM requires either one or three arguments"),
        ("FROM busybox\nSTOPSIGNAL NONE\n", "NONE"),
        *((f"FROM busybox\n{name}\n", f"{name} requires exactly one argument\n") for name in ("USER", "MAINTAINER")),
        *(
            (f"FROM busybox\n{name}\n", f"{name} requires at least one argument\n")
            for name in ("ENV", "LABEL", "SHELL")
        ),
        ("FROM busybox\nADD\n", "ADD requires at least two arguments, but only one was provided."),
        ("FROM\n", "FROM requires either one or three arguments"),
        ("FROM busybox\nHEALTHCHECK NONE x\n", "HEALTHCHECK NONE takes no arguments"),
        ("FROM busybox\nHEALTHCHECK CMD\n", "Missing command after HEALTHCHECK CMD"),
        ("FROM scratch\n", "No image was generated. Is your Dockerfile empty?"),
        ("FROM busybox\nFROM scratch AS x\n", "No image was generated. Is your Dockerfile empty?"),
        ("FROM busybox\nHEALTHCHECK x\n", "Unknown type 'x' in HEALTHCHECK (try CMD)"),
        ("FROM Bad/Name!\n", "invalid reference format"),
        ("FROM busybox\nCOPY --from=\u00b2 a /\n", "invalid reference format"),
        ("FROM busybox\nHEALTHCHECK --retries=\u00b2 CMD true\n", "--retries must be at least 1"),
        (f"FROM busybox\nHEALTHCHECK --timeout={'9' * 400}s CMD true\n", "--timeout: time: invalid duration"),
        ("FROM busybox\nHEALTHCHECK --timeout=9999999h CMD true\n", "--timeout: time: invalid duration"),
        ("FROM busybox\nCOPY a\0b /\n", "zero byte"),
        ("FROM busybox\nUSER " + "${A:-" * 2000 + "\n", "substitutions in each other"),
    ],
)
def test_what_is_wrong_is_named(engine, context, dockerfile, words):
    shown = build(engine, context(dockerfile), "-t", "wrong", "--force-rm", status=1)

    assert words in shown, shown
    assert engine.docker("image", "inspect", "wrong").returncode != 0
    assert engine.ok("ps", "-aq") == "" and "Traceback" not in shown


@pytest.mark.parametrize(
    "query, what",
    [
        ("version=2", "BuildKit"),
        ("session=x", "BuildKit"),
        ("squash=1", "--squash"),
        ("remote=https://example.com/x.git", "remote context"),
        ("outputs=[{}]", "--output"),
    ],
)
def test_what_is_missing_is_named(engine, query, what):
    status, answer = engine.call("POST", f"/build?{query}")

    assert status == 501 and what in answer["message"], answer


def test_the_isolation_of_other_systems_is_refused(engine, dockerd, context):
    for daemon in (engine, dockerd):
        for isolation in ("hyperv", "process", "nosuch"):
            shown = build(daemon, context("FROM busybox\n"), "--isolation", isolation, status=1)
            assert f'Unsupported isolation: "{isolation}"' in shown
        build(daemon, context("FROM busybox\n"), "--isolation", "Default")


def test_the_history_quotes_commands_as_dockerd_does(engine, dockerd, context):
    words = ["sh", "-c", "echo \"q\" 's' \\ \t\n", "\u00e9\u0001\u200b\U0001f600\U000e0001"]
    dockerfile = f'FROM busybox\nENTRYPOINT {json.dumps(words)}\nCMD {json.dumps(words)}\nCMD echo "x"\n'
    seen = []
    for daemon in (engine, dockerd):
        build(daemon, context(dockerfile), "-t", "quotes")
        shown = daemon.docker("history", "--no-trunc", "--format", "{{json .CreatedBy}}", "quotes").stdout
        seen.append([json.loads(line).split("(nop)")[1].strip() for line in shown.splitlines()[:3]])
        assert daemon.docker("rmi", "quotes").returncode == 0
    assert seen[0] == seen[1]
    assert seen[0][0] == 'CMD ["/bin/sh" "-c" "echo \\"x\\""]'


@pytest.mark.parametrize("query", ["labels=" + "[" * 30_000, "buildargs={%22A%22:5}", "ulimits=[5]", "ulimits=[[]]"])
def test_options_of_a_wrong_type_are_refused(engine, query):
    status, answer = engine.call("POST", f"/build?{query}")

    assert status == 400 and answer["message"].startswith("invalid "), answer


def packed(*members):
    """Return an archive of (name, text), or (name, None) for a FIFO."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, text in members:
            member = tarfile.TarInfo(name)
            member.type = tarfile.FIFOTYPE if text is None else tarfile.REGTYPE
            member.size = len(text or "")
            archive.addfile(member, io.BytesIO((text or "").encode()))
    return file.getvalue()


def test_a_pipe_in_the_context_is_not_waited_for(engine):
    """Opening it would last until somebody writes to it, with the lock of all images held."""
    for members, words in (
        ([("Dockerfile", None)], b"Cannot locate specified Dockerfile: Dockerfile"),
        ([("Dockerfile", "FROM busybox\nADD pipe /pipe\nRUN test -p /pipe\n"), ("pipe", None)], b"Successfully built"),
    ):
        context = packed(*members)
        head = f"POST /build?t=pipe HTTP/1.1\r\nHost: d\r\nContent-Length: {len(context)}\r\n\r\n"

        assert words in engine.exchange(head.encode() + context)
    engine.ok("rmi", "pipe")


def test_buildkit_is_refused_by_name(engine):
    head = engine.exchange(b"HEAD /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")

    assert b"Builder-Version: 1\r\n" in head
    assert engine.call("POST", "/session")[1]["message"].startswith("BuildKit (set DOCKER_BUILDKIT=0)")


def test_a_context_that_leads_outside_stays_inside(engine, context, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = context("FROM busybox\nCOPY link /got\n")
    (folder / "link").symlink_to(secret)

    assert "file not found" in build(engine, folder, status=1)

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, target in (("out", tmp_path), ("Dockerfile", secret)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(target)
            archive.addfile(link)
        archive.addfile(tarfile.TarInfo("out/written"))
    head = f"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data.getvalue())}\r\n\r\n"
    answer = engine.exchange(head.encode() + data.getvalue())

    assert b"HTTP/1.1 400" in answer and b"secret" not in answer, answer
    assert not (tmp_path / "written").exists()


# A build that does not come to its end.


def test_a_client_that_goes_away_cancels_the_build(engine, context):
    folder = context("FROM busybox\nRUN echo started; sleep 60\n")
    client = engine.begin("build", "-t", "gone", folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: engine.ok("ps", "-q") != "", "the container")

    client.kill()
    client.communicate()

    wait_until(lambda: leftovers(engine) == ([], []), "the removal of all")
    assert engine.docker("image", "inspect", "gone").returncode != 0


def test_a_daemon_that_is_killed_leaves_nothing_of_a_build(own_engine, context):
    engine = own_engine
    folder = context("FROM busybox\nRUN echo kept > /kept\nRUN sleep 60\n")
    client = engine.begin("build", "-t", "gone", folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: "sleep 60" in engine.ok("ps", "--no-trunc"), "the container")
    engine.kill()
    client.wait()

    engine.start()

    wait_until(lambda: leftovers(engine) == ([], []), "the removal of all")
    assert engine.docker("image", "inspect", "gone").returncode != 0
    build(engine, context("FROM busybox\nRUN echo kept > /kept\n"), "-t", "again")
    assert run(engine, "again", "cat", "/kept") == "kept"


def test_a_worker_that_is_killed_leaves_nothing_of_a_build(engine, context):
    folder = context("FROM busybox\nRUN sleep 60\n")
    client = engine.begin("build", "-t", "gone", folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: engine.ok("ps", "-q") != "", "the container")

    for pid in engine.workers():
        kill(pid)

    assert client.wait() != 0
    wait_until(lambda: leftovers(engine) == ([], []), "the removal of all")


def test_other_requests_are_answered_during_a_build(engine, context):
    folder = context("FROM busybox\nRUN sleep 2\n")
    client = engine.begin("build", "-t", "slow", folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: engine.ok("ps", "-q") != "", "the container")

    began = time.monotonic()
    run(engine, "busybox", "true")

    assert time.monotonic() - began < 1.8 and client.poll() is None
    assert client.wait() == 0
    engine.ok("rmi", "slow")


def test_the_tag_of_a_build_is_an_event(engine, context):
    since = time.time()
    build(engine, context("FROM busybox\nLABEL e=1\n"), "-t", "told", "-t", "told:2")
    lines = engine.ok("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{json .}}")

    tags = [event for event in map(json.loads, lines.splitlines()) if event["Action"] == "tag"]
    assert [event["Actor"]["Attributes"]["name"] for event in tags] == ["told:latest", "told:2"]
    engine.ok("rmi", "told", "told:2")


@pytest.fixture(scope="module")
def web(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "file.txt").write_text("served")
    with tarfile.open(folder / "archive.tar", "w") as archive:
        archive.add(folder / "file.txt", "inside")
    made = WebServer(hub, folder, 8765)
    yield made
    made.stop()


def test_an_address_is_added_as_a_file(engine, context, web):
    build(engine, context(f"FROM busybox\nADD {web.address}/file/file.txt /a/\n"), "-t", "address")

    shown = run(engine, "address", "sh", "-c", "cat /a/file.txt; stat -c '%a %Y' /a/file.txt")
    assert shown == "served600 978404645"  # Last-Modified
    engine.ok("rmi", "address")


def test_an_archive_from_an_address_is_not_taken_for_that_of_the_context(engine, context, web):
    folder = context("FROM busybox\nADD archive.tar /a/\n")
    shutil.copyfile(web.folder / "archive.tar", folder / "archive.tar")
    (folder / "archive.tar").chmod(0o600)
    build(engine, folder, "-t", "first")
    (folder / "Dockerfile").write_text(f"FROM busybox\nADD {web.address}/file/archive.tar /a/\n")

    build(engine, folder, "-t", "second")

    assert (run(engine, "first", "ls", "/a"), run(engine, "second", "ls", "/a")) == ("inside", "archive.tar")
    engine.ok("rmi", "first", "second")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("404", "ADD failed: failed to GET {}/404 with status 404 Not Found: what the server says"),
        ("short", "ADD failed: {}/short: unexpected EOF: the server has sent all but 65536 bytes"),
        ("to/302/ftp://127.0.0.1:1/x", 'ADD failed: Get "ftp://127.0.0.1:1/x": unsupported protocol scheme "ftp"'),
    ],
)
def test_an_address_that_gives_no_whole_file_ends_the_build(engine, context, web, path, words):
    shown = build(engine, context(f"FROM busybox\nADD {web.address}/{path} /a/b\n"), "-t", "address", status=1)

    assert words.format(web.address) in shown
    assert engine.docker("image", "inspect", "address").returncode != 0


def test_the_name_in_an_address_leads_nowhere_outside(engine, context, web, tmp_path):
    outside = "%2F".join([".."] * 20) + quote(str(tmp_path / "file.txt"), safe="")
    build(engine, context(f"FROM busybox\nADD {web.address}/file/x{outside} /a/\n"), "-t", "address")

    assert not (tmp_path / "file.txt").exists()
    assert run(engine, "address", "ls", "/a") == "file.txt"
    for address, words in (
        (f"{web.address}/file/%2e%2e", "'..' cannot be the name of a file"),
        (f"{web.address}/", "ADD failed: cannot determine filename from url: "),
        ("http://[::1/x", 'ADD failed: parse "http://[::1/x": '),
    ):
        assert words in build(engine, context(f"FROM busybox\nADD {address} /a/\n"), status=1)
    engine.ok("rmi", "address")


def test_docker_ignore_is_what_the_client_sends(engine, context):
    files = {".dockerignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": "", "b": ""}
    build(engine, context("FROM busybox\nCOPY . /all\n", files), "-t", "ignored")

    assert run(engine, "ignored", "ls", "/all").split() == ["Dockerfile", "b", "keep.log"]
    assert os.listdir(engine.data / "builds") == []
    engine.ok("rmi", "ignored")


@pytest.mark.parametrize(
    "patterns, left",
    [
        ("Dockerfile", [".dockerignore", "f"]),
        ("/Dockerfile\n\n  .dockerignore", ["f"]),
        ("*\n!f\n!Docker*", ["Dockerfile", "f"]),
        ("**/Dockerfil?\n.[c-e]ockerignore", ["f"]),
        ("# Dockerfile\nDockerfile/x\n*/Dockerfile", [".dockerignore", "Dockerfile", "f"]),
        ("Docker**\n!Dockerfile\nDockerfile/../Dockerfile", [".dockerignore", "f"]),
    ],
)
def test_a_dockerfile_that_is_ignored_is_read_and_not_copied(engine, context, patterns, left):
    folder = context("FROM busybox\nCOPY . /all\n", {".dockerignore": patterns, "f": ""})
    build(engine, folder, "-t", "ignored")

    assert run(engine, "ignored", "ls", "-A", "/all").split() == left
    engine.ok("rmi", "ignored")


def test_a_dockerfile_from_standard_input_is_no_file_of_the_context(engine, context):
    folder, text = context("FROM nosuch\n", {"f": ""}), "FROM busybox\nCOPY . /all\n"
    build(engine, folder, "-t", "piped", "-f", "-", input=text)

    assert run(engine, "piped", "ls", "-A", "/all").split() == ["Dockerfile", "f"]
    assert "Using cache" in build(engine, folder, "-t", "piped", "-f", "-", input=text)
    engine.ok("rmi", "piped")


def test_a_dockerfile_in_a_folder_that_is_ignored_is_not_copied(engine, context):
    files = {".dockerignore": "build\n", "build/Dockerfile": "FROM busybox\nCOPY . /all\n"}
    folder = context("FROM nosuch\n", files)
    build(engine, folder, "-t", "below", "-f", str(folder / "build/Dockerfile"))

    assert run(engine, "below", "ls", "-A", "/all", "/all/build").split()[1:] == [
        ".dockerignore", "Dockerfile", "build", "/all/build:",
    ]  # fmt: skip
    engine.ok("rmi", "below")


def test_the_directory_that_an_archive_is_added_to_keeps_its_owner_and_mode(engine, dockerd, context):
    dockerfile = "FROM busybox\nADD t.tar /tmp\nADD t.tar /new\nRUN stat -c '%a %u %g %n' /tmp /new /tmp/d\n"
    folder = context(dockerfile)
    with tarfile.open(folder / "t.tar", "w") as archive:
        for name in (".", "./d"):
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.mode = tarfile.DIRTYPE, 33, 34, 0o711
            archive.addfile(info)

    for daemon in (engine, dockerd):
        shown = build(daemon, folder, "--network=none", "-t", "added").splitlines()
        assert {"1777 0 0 /tmp", "755 0 0 /new", "711 33 34 /tmp/d"} <= set(shown)
        assert daemon.docker("rmi", "added").returncode == 0


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        ("Dockerfile\n.dockerignore\n", "a sub"),
        ("*\n!a\n", "a"),
        ("Docker*\n", ".dockerignore a sub"),
        ("#Dockerfile\n  \n/.dockerignore \n", "Dockerfile a sub"),
        ("**\n!a\n! Dockerfile\n", "Dockerfile a"),
        ("**/*file\n", ".dockerignore a sub"),
        ("*.ignore\n[Dd]ocker?ile\n", ".dockerignore a sub"),
        ("", ".dockerignore Dockerfile a sub"),
    ],
)
def test_the_dockerfile_is_in_no_image_if_it_is_excluded(engine, dockerd, context, ignored, left):
    folder = context("FROM busybox\nCOPY . /all\nRUN ls -A /all\n", {".dockerignore": ignored, "a": "", "sub/b": ""})
    for daemon in (engine, dockerd):
        shown = build(daemon, folder, "--no-cache", "--network=none").partition("Running in")[2].splitlines()
        assert " ".join(shown[1 : 1 + len(left.split())]) == left
        assert shown[1 + len(left.split())].startswith(("Removing", " --->"))


def test_a_dockerfile_from_elsewhere_is_in_no_image_either(engine, dockerd, context):
    folder = context("FROM nosuch\n", {"a": "", "sub/Dockerfile": "FROM busybox\nCOPY . /all\nRUN find /all\n"})
    (folder / ".dockerignore").write_text("sub\nDockerfile\n.dockerignore\n")
    text = "FROM busybox\nCOPY . /all\nRUN ls -A /all\n"
    for daemon in (engine, dockerd):
        outside = build(daemon, folder, "--no-cache", "--network=none", "-f", "-", input=text)
        assert outside.partition("Running in")[2].splitlines()[1:2] == ["a"]
        inside = build(daemon, folder, "--network=none", "-f", str(folder / "sub/Dockerfile"))
        assert "sub/Dockerfile" not in inside
    assert "Using cache" in build(engine, folder, "-f", "-", input=text)
