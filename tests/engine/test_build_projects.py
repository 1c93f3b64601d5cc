"""Dockerfiles of the kind that projects have, on base images that are made here of busybox."""

import subprocess
import time

import pytest
from builds import build, run
from daemon import DOCKERS, REPOSITORY, wait_until
from hello import hello
from test_compose import COMPOSE, Project

PYFETCH = REPOSITORY / "dist/pyfetch"

docker = pytest.importorskip("docker")

pytestmark = pytest.mark.usefixtures("removed")

RUNTIMES = """
FROM busybox AS common
RUN mkdir -p /usr/local/bin /tmp && chmod 1777 /tmp
ENV PATH=/usr/local/bin:/bin
SHELL ["/bin/sh", "-euc"]

FROM common AS python
RUN <<EOF
cat > /usr/local/bin/pip <<'END'
#!/bin/sh
# pip install --no-cache-dir -r FILE
for last; do :; done
mkdir -p /usr/local/lib/packages
while read package; do echo "$package" > "/usr/local/lib/packages/$package"; done < "$last"
END
printf '#!/bin/sh\\necho "python runs $* as $(id -un) in $(pwd) with $(ls /usr/local/lib/packages | wc -l)"\\n' \
    > /usr/local/bin/python
chmod 755 /usr/local/bin/pip /usr/local/bin/python
EOF

FROM common AS node
RUN printf '#!/bin/sh\\nmkdir -p node_modules/left-pad dist\\necho "$1 $2" >> dist/log\\n' > /usr/local/bin/npm && \
    printf '[ "$1" = ci ] || cat src/*.js > dist/app.js\\n' >> /usr/local/bin/npm && \
    chmod 755 /usr/local/bin/npm

FROM common AS nginx
RUN mkdir -p /usr/share/nginx/html /etc/nginx/conf.d && echo default > /etc/nginx/conf.d/default.conf
COPY --chmod=755 <<"EOF" /docker-entrypoint.sh
#!/bin/sh
for script in /docker-entrypoint.d/*.sh; do [ -f "$script" ] && . "$script"; done
exec "$@"
EOF
EXPOSE 80
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["nginx", "-g", "daemon off;"]
"""


@pytest.fixture
def project(engine, tmp_path):
    """Return a function that makes a project's folder; the base images are there."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "Dockerfile").write_text(RUNTIMES)
    for name in ("python", "node", "nginx"):
        build(engine, base, "-q", "-t", f"{name}:test", "--target", name)

    def make(files):
        folder = tmp_path / "project"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


def test_a_service_in_python(engine, project):
    dockerfile = """# syntax=docker/dockerfile:1
ARG VERSION=test
FROM python:${VERSION} AS base
ENV PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1

# Requirements first: they change less often than the code.
FROM base
RUN echo 'app:x:1000:1000::/app:/bin/sh' >> /etc/passwd && echo 'app:x:1000:' >> /etc/group
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=app:app . .
USER app
RUN touch /app/service/made-by-app
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s CMD python health.py || exit 1
CMD ["python", "-m", "service", "--port", "8000"]
"""
    files = {"Dockerfile": dockerfile, "requirements.txt": "flask\ngunicorn\n", "service/main.py": "code"}
    build(engine, project(files), "-t", "service")

    assert run(engine, "service") == "python runs -m service --port 8000 as app in /app with 2"
    assert run(engine, "service", "stat", "-c", "%U", "/app", "/app/service/made-by-app").split() == ["root", "app"]

    again = build(engine, project({"service/main.py": "changed"}), "-t", "service")
    assert "Using cache" in again.partition("RUN pip")[2].partition("COPY --chown")[0]
    assert run(engine, "service", "cat", "service/main.py") == "changed"
    assert len(engine.ok("images", "-qf", "dangling=true").split()) == 1  # the image before
    engine.ok("image", "prune", "-f")
    engine.ok("rmi", "service")


def test_a_web_page_built_by_node_and_served_by_nginx(engine, project):
    dockerfile = """
FROM node:test AS build
WORKDIR /src
COPY package*.json ./
RUN ["npm", "ci", "--omit=dev"]
COPY . .
ARG API=http://localhost
ENV API=$API
RUN npm run build && echo "api=$API" >> dist/app.js

FROM nginx:test
LABEL org.opencontainers.image.title="page" \\
      org.opencontainers.image.version=1.2.3
RUN rm /etc/nginx/conf.d/default.conf
COPY --from=build /src/dist /usr/share/nginx/html
COPY nginx/*.conf /etc/nginx/conf.d/
COPY nginx/start.sh /docker-entrypoint.d/10-start.sh
VOLUME /var/cache/nginx
"""
    files = {
        "Dockerfile": dockerfile,
        "package.json": "{}",
        "package-lock.json": "{}",
        "src/a.js": "a();\n",
        "src/b.js": "b();\n",
        "nginx/site.conf": "server {}",
        "nginx/start.sh": "echo configured",
        "node_modules/huge": "x",
        ".dockerignore": "node_modules\n",
    }
    build(engine, project(files), "-t", "page", "--build-arg", "API=https://api")

    shown = run(engine, "page", "sh", "-c", "cat /usr/share/nginx/html/app.js; ls /etc/nginx/conf.d")
    assert shown.split("\n") == ["configured", "a();", "b();", "api=https://api", "site.conf"]
    config = engine.inspect("page", ".Config")
    assert config["Cmd"] == ["nginx", "-g", "daemon off;"] and config["StopSignal"] == "SIGQUIT"
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3" and "80/tcp" in config["ExposedPorts"]
    assert run(engine, "page", "ls", "/").split()[1:].count("src") == 0
    engine.ok("rmi", "page")


def test_a_static_program_in_an_image_from_scratch(engine, project):
    dockerfile = """
FROM --platform=$BUILDPLATFORM busybox AS compiler
ARG TARGETARCH
ARG TARGETOS
WORKDIR /go/src
COPY go.mod main.go ./
RUN cp /bin/busybox /go/busybox && echo "$TARGETOS/$TARGETARCH" > /go/target
FROM scratch
COPY --from=compiler /go/busybox /busybox
COPY --from=compiler /go/target /target
USER 65534:65534
ENTRYPOINT ["/busybox"]
CMD ["cat", "/target"]
"""
    build(engine, project({"Dockerfile": dockerfile, "go.mod": "", "main.go": ""}), "-t", "static")

    assert run(engine, "static") == "linux/amd64"
    assert run(engine, "static", "id", "-u") == "65534"
    assert len(engine.inspect("static", ".RootFS.Layers")) == 2
    engine.ok("rmi", "static")


def test_a_database_initialises_the_volume_of_its_image(engine, project):
    dockerfile = """
FROM busybox
RUN set -eux; mkdir -p /var/lib/db; echo seed > /var/lib/db/seed; chown -R 33:34 /var/lib/db; chmod 700 /var/lib/db
VOLUME /var/lib/db
RUN echo lost > /var/lib/db/lost
COPY init.sh /
ENTRYPOINT ["sh", "/init.sh"]
"""
    init = "cat /var/lib/db/seed; ls /var/lib/db; stat -c %u:%g:%a /var/lib/db"
    build(engine, project({"Dockerfile": dockerfile, "init.sh": init}), "-t", "db")

    assert run(engine, "db").split() == ["seed", "seed", "33:34:700"]
    assert engine.ok("volume", "ls", "-q") == ""
    engine.ok("rmi", "db")


def test_a_base_image_is_pulled_when_it_is_missing_or_asked_for(hub, engine, project):
    hub.push(hello("first"), "pulled:latest")
    folder = project({"Dockerfile": "FROM pulled\nLABEL a=b\n"})
    build(engine, folder, "-t", "made")
    hub.push(hello("second"), "pulled:latest")
    build(engine, folder, "-t", "made")
    before = run(engine, "made")

    build(engine, folder, "-t", "made", "--pull")

    assert (before, run(engine, "made")) == ("first", "second")
    missing = build(engine, project({"Dockerfile": "FROM 127.0.0.1:5000/library/nosuch:1\n"}), status=1)
    assert "nosuch" in missing
    engine.ok("rmi", "made", "pulled")
    engine.ok("image", "prune", "-f")


def test_containers_of_steps_can_be_kept(engine, project):
    folder = project({"Dockerfile": "FROM busybox\nRUN echo kept > /kept\nRUN cat /kept > /again\n"})
    shown = build(engine, folder, "-t", "steps", "--rm=false", "--no-cache")

    assert "Removing intermediate container" not in shown
    assert len(engine.ok("ps", "-aq").split()) == 2
    assert run(engine, "steps", "cat", "/again") == "kept"
    engine.ok("rm", *engine.ok("ps", "-aq").split())
    engine.ok("rmi", "steps")


def test_several_builds_at_once(engine, project):
    folder = project({"Dockerfile": "FROM busybox\nARG N\nRUN echo same > /same\nRUN echo $N > /own; sleep 0.3\n"})
    clients = [
        engine.begin("build", "-q", "-t", f"n{n}", "--build-arg", f"N={n}", folder, stdout=subprocess.DEVNULL)
        for n in range(4)
    ]

    assert [client.wait() for client in clients] == [0] * 4
    assert [run(engine, f"n{n}", "cat", "/same", "/own").split() for n in range(4)] == [
        ["same", str(n)] for n in range(4)
    ]
    engine.ok("rmi", *(f"n{n}" for n in range(4)))


def test_a_step_takes_no_longer_than_a_run(engine, project):
    folder = project({"Dockerfile": "FROM busybox\n" + "".join(f"RUN true {n}\n" for n in range(10))})
    began = time.monotonic()
    for _ in range(5):
        run(engine, "busybox", "true")
    of_runs = (time.monotonic() - began) / 5

    began = time.monotonic()
    build(engine, folder, "-q", "-t", "quick")
    of_steps = (time.monotonic() - began) / 10

    assert of_steps < 2 * of_runs, (of_steps, of_runs)
    engine.ok("rmi", "quick")


@pytest.mark.parametrize("client", DOCKERS)
def test_newer_clients_build_too(engine, project, client):
    folder = project({"Dockerfile": "FROM busybox\nCOPY f /f\nRUN cat /f\n", "f": "content"})
    config = folder.parent / "config"
    config.mkdir()
    done = subprocess.run(
        [client, "-H", f"unix://{engine.socket}", "build", "-t", "newer", folder],
        env={"DOCKER_CONFIG": str(config), "DOCKER_BUILDKIT": "0", "PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0 and "Successfully tagged newer:latest" in done.stdout, (done.stdout, done.stderr)
    assert run(engine, "newer", "cat", "/f") == "content"
    engine.ok("rmi", "newer")


def test_docker_py_builds_and_tells_what_fails(engine, project):
    client = docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)
    folder = project({"Dockerfile": "FROM busybox\nCOPY f /f\nCMD cat /f\n", "f": "content"})

    image, lines = client.images.build(path=str(folder), tag="made:py", rm=True)

    assert image.tags == ["made:py"] and any("stream" in line for line in lines)
    assert client.containers.run(image, remove=True, network_mode="none") == b"content"
    (folder / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 3"):
        client.images.build(path=str(folder), rm=True, forcerm=True)
    committed = client.containers.create("busybox", "true", network_mode="none").commit("made", "again")
    assert committed.tags == ["made:again"]
    engine.remove_all()
    engine.ok("rmi", "made:py", "made:again")
    client.close()


@pytest.mark.skipif(not COMPOSE.exists(), reason="compose is not installed: tests/run installs it")
def test_compose_builds_what_its_services_need(engine, project):
    dockerfile = "FROM busybox AS first\nARG WHO\nRUN echo built for $WHO > /built\nFROM first AS second\nRUN false\n"
    folder = project({"Dockerfile": dockerfile})
    service = {
        "build": {"context": str(folder), "target": "first", "args": {"WHO": "compose"}},
        "command": ["cat", "/built"],
        "network_mode": "none",
    }
    shop = Project(engine, folder, {"services": {"web": service}})

    shop.ok("build")

    assert "built for compose" in shop.ok("run", "--rm", "web")
    shop.ok("down", "--rmi", "all")


def test_a_base_image_for_another_platform_is_not_found(engine, project):
    folder = project({"Dockerfile": "FROM --platform=linux/s390x busybox\n"})

    assert "s390x" in build(engine, folder, status=1)


def test_each_layer_is_what_its_archive_unpacks_to(own_engine, tmp_path):
    engine, folder = own_engine, tmp_path / "context"
    steps = [
        "COPY f /a/f",
        "RUN rm -rf /a /var; mkdir -p /var/x /a; ln -s /etc /var/link; mv /bin/tty /bin/tty2; ln /bin/tty2 /tty3",
        "RUN chmod 1777 /a; chown 33:34 /a; touch -d 2001-01-01 /a; echo > /a/.new; mkfifo /a/p; mkdir /dev/own",
        "RUN touch /etc/one; rm /etc/one",
        "COPY f /var/link/through",
        "WORKDIR /deep/er",
    ]
    lines = ["FROM busybox AS steps", *steps, "FROM scratch", "COPY f /f", "COPY f /g"]
    folder.mkdir()
    (folder / "f").write_text("")
    (folder / "Dockerfile").write_text("\n".join(lines))
    build(engine, folder, "-q", "-t", "scratch")
    build(engine, folder, "-q", "-t", "steps", "--target", "steps")

    store = ["--store", str(engine.data / "images")]
    done = subprocess.run([PYFETCH, "prune", *store, "--check"], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    engine.ok("rmi", "scratch", "steps")


def test_nothing_is_left_of_all_these_builds(engine, project):
    engine.ok("image", "prune", "-f")
    for name in ("python:test", "node:test", "nginx:test"):
        engine.ok("rmi", name)

    engine.ok("builder", "prune", "-af")

    layers = engine.data / "images/layers"
    wait_until(lambda: len([one for one in layers.iterdir() if one.name[0] != "."]) == 2, "the layers of busybox alone")
    assert list((engine.data / "builds").iterdir()) == []
    assert list((engine.data / "images/kept").iterdir()) == []
