#!/usr/bin/env python3
"""Build dist/pyrun, dist/pyfetch and dist/pyrund: one executable file each, bit for bit the same from the same sources;
and beside them their man pages and pyfetch's completion (the others print theirs), from the tables of their verbs.

Such a file consists of

    the shebang      starts the interpreter without site and environment, with a line of code instead of a script: a zip
                     file as a script goes through runpy, which costs 4 ms
    the pack         written by runtime/pack/compiler.py: a loader, and bytecode for the interpreter that the file is
                     built for
    a zip archive    the sources, for all other interpreters, for `python3 FILE`, and for reading

A program is a package of runtime/ that has a __main__.py, and all packages of runtime/ that its modules import.
"""

import argparse
import ast
import io
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.completion import Option, Program

SOURCES = Path(__file__).resolve().parent / "runtime"
DEFAULT_PYTHON = "/usr/bin/python3"
SHEBANG_MAXIMUM = 255  # BINPRM_BUF_SIZE, Linux 5.1

# The kernel passes everything after the interpreter as one argument, of which -c takes the rest as code. This executes
# the second line, with `p`, the path of the file, and `f`, the file at the position after that line. While another
# version is copied over the file, its end is missing: if it ends in the middle of a line, that must be an error.
START = (
    "import sys;p=sys.argv.pop(1);f=open(p,'rb');f.readline();c=f.readline();"
    "exec(c if c[-1:]==b'\\n'else\"sys.exit('error: '+p+': cut short')\")"
)

PURPOSES = {
    "pyrun": "an OCI container runtime",
    "pyfetch": "turn an image of a registry into a bundle",
    "pyrund": "an engine for containers",
}
# What the man pages have beside the tables: for each section, its paragraphs, "TERM: TEXT".
SECTIONS: "dict[str, dict[str, list[str]]]" = {
    "pyrun": {
        "EXIT STATUS": [
            "0: Success.",
            "1: An error; for validate, the config.json has errors; for doctor, no container can run.",
            "255: For exec, the process could not be executed.",
            "N: The status of the program, for run, exec and restore without --detach, and for wait the first that is "
            "not 0; 128+N if signal N ended it.",
            "128+N: Signal N interrupted pyrun.",
        ],
        "ENVIRONMENT": [
            "XDG_RUNTIME_DIR: Without root, the states are in its directory pyrun, and the user's systemd is found in "
            "it. Root of a user namespace uses it, too, unless USER is root.",
            "USER: If it is root, root of a user namespace has the states in /run/pyrun.",
            "PATH: Where criu, ps, newuidmap and newgidmap are looked for. The container's program is looked for in "
            "the PATH of config.json.",
            "LISTEN_FDS, LISTEN_PID: The descriptors that are passed on to the container: sd_listen_fds(3).",
            "NOTIFY_SOCKET: The socket to which start and run report that the container is ready: sd_notify(3).",
        ],
        "FILES": [
            "config.json: The bundle's configuration, as the OCI runtime specification has it.",
            "/run/pyrun, $XDG_RUNTIME_DIR/pyrun: The states of root's containers, and of a user's.",
            "/etc/subuid, /etc/subgid: The subordinate ids of a user who is not root: subuid(5).",
            "/etc/criu/pyrun.conf: More options for criu, unless the annotation org.criu.config names another file.",
        ],
    },
    "pyfetch": {
        "EXIT STATUS": [
            "0: Success.",
            "1: Any error that has no number of its own.",
            "2: The command line or a file of settings is wrong, or a policy refuses the image.",
            "3: There is no such image, tag, platform or bundle.",
            "4: The registry wants other credentials.",
            "5: The registry cannot be reached, or stays busy.",
            "6: Bytes do not match their digest, size or format; for prune --check, something was damaged.",
            "7: No space, no permission, or a read-only file system.",
            "128+N: Signal N interrupted pyfetch. What was downloaded is kept for the next time.",
        ],
        "ENVIRONMENT": [
            "PYFETCH_STORE: The store, unless --store names another.",
            "DOCKER_DEFAULT_PLATFORM: The platform, unless --platform names another.",
            "DOCKER_AUTH_CONFIG: Credentials as JSON, which are looked up before those of files.",
            "REGISTRY_AUTH_FILE: The only file of credentials, unless --authfile names another.",
            "DOCKER_CONFIG: The directory of docker's config.json. The default is ~/.docker.",
            "CONTAINERS_REGISTRIES_CONF: The file that replaces registries.conf.",
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY: Proxies, and the hosts that are reached without them, "
            "also in lower case. HTTP_PROXY is ignored if REQUEST_METHOD is set, as for a CGI program.",
            "SSL_CERT_FILE, SSL_CERT_DIR: The certificates of authorities that replace the system's.",
            "XDG_DATA_HOME: Without root, the store is in its directory pyfetch. The default is ~/.local/share.",
            "XDG_CONFIG_HOME: The directory of the user's own files, but for policy.json. The default is ~/.config.",
            "XDG_RUNTIME_DIR: Credentials are looked for in its file containers/auth.json.",
            "HOME: The directory that is written ~ here.",
            "TERM: If it is dumb, progress is shown without bars.",
        ],
        "FILES": [
            "/var/lib/pyfetch, ~/.local/share/pyfetch: The store of root, and of a user: an OCI image layout.",
            "$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json: podman's credentials, which are "
            "looked up in this order.",
            "~/.docker/config.json: docker's credentials, which are looked up last.",
            "/etc/containers/registries.conf, /etc/containers/registries.conf.d: Short names, mirrors and insecure "
            "registries, as in containers-registries.conf(5). The user's file in ~/.config/containers replaces the "
            "first, and the files of the user's directory are read after the others.",
            "~/.config/containerd/certs.d, /etc/containerd/certs.d, /etc/docker/certs.d: Mirrors: hosts.toml of "
            "containerd, in a directory for each registry.",
            "/etc/docker/daemon.json: docker's mirrors and insecure registries.",
            "~/.config/containers/certs.d, /etc/containers/certs.d, /etc/docker/certs.d: Certificates, in a directory "
            "for each registry.",
            "~/.config/containers/policy.json, /etc/containers/policy.json: Which images are accepted: "
            "containers-policy.json(5).",
            "/etc/subuid, /etc/subgid: The subordinate ids of a user who is not root: subuid(5).",
        ],
    },
    "pyrund": {
        "EXIT STATUS": [
            "0: Success.",
            "1: An error.",
            "125: The command line has a wrong option; or, for run and for start with --attach, the container could "
            "not be made or started.",
            "126, 127: For run, exec, and start with --attach, the program cannot be executed, or is not there.",
            "N: For run, exec, attach, and start with --attach, the status of the program.",
            "128+N: Signal N interrupted pyrund.",
            "141: Nobody reads the output any more.",
        ],
        "ENVIRONMENT": [
            "DOCKER_HOST: The daemon that is called, unless --host names another.",
            "DOCKER_TLS_VERIFY: If it is not empty, it has the effect of --tlsverify.",
            "DOCKER_CERT_PATH: The directory of ca.pem, cert.pem and key.pem for TLS. The default is that of "
            "DOCKER_CONFIG.",
            "DOCKER_CONFIG: The directory of docker's config.json, which has credentials. The default is ~/.docker.",
            "DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE: Credentials for login, pull, push, run and create: pyfetch(1).",
            "DOCKER_DEFAULT_PLATFORM: The platform for create, run and pull, unless --platform names another.",
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR: For the daemon, which fetches "
            "images: pyfetch(1). A daemon that a command starts gets them from it.",
            "XDG_RUNTIME_DIR: Without root, the directory of docker.sock and of pyrund, which is the exec-root. The "
            "default is /run/user/UID, if that is there.",
            "XDG_DATA_HOME: Without root, the data-root is in its directory pyrund. The default is ~/.local/share.",
            "XDG_CONFIG_HOME: Without root, its file docker/daemon.json is read. The default is ~/.config.",
            "LISTEN_FDS, LISTEN_PID: Sockets at which serve listens, if no --host is given: sd_listen_fds(3).",
            "NOTIFY_SOCKET: Where serve reports that it listens: sd_notify(3).",
            "HOME: The directory that is written ~ here.",
            "TERM: If it is dumb, progress is shown without bars.",
        ],
        "FILES": [
            "/var/run/docker.sock, $XDG_RUNTIME_DIR/docker.sock: The socket of root's daemon, and of a user's.",
            "/etc/docker/daemon.json, ~/.config/docker/daemon.json: The settings of serve, as for dockerd.",
            "/etc/docker/ca.pem, /etc/docker/cert.pem, /etc/docker/key.pem: Certificates and key of serve for TLS.",
            "/var/lib/pyrund, ~/.local/share/pyrund: Images, containers, volumes and networks.",
            "/run/pyrund, $XDG_RUNTIME_DIR/pyrund: What does not outlive a reboot; log has the messages of a daemon "
            "that a command has started.",
            "/etc/subuid, /etc/subgid: The subordinate ids of a user who is not root: subuid(5).",
        ],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--output", metavar="DIR", default="dist", help="where to write the files (default: %(default)s)"
    )
    parser.add_argument("--python", metavar="PATH", default=DEFAULT_PYTHON, help="interpreter (default: %(default)s)")
    options = parser.parse_args()
    if not os.path.isabs(options.python):
        parser.error(f"--python {options.python}: a shebang needs an absolute path")
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    for program in sorted(path.parent.name for path in SOURCES.glob("*/__main__.py")):
        write(output / program, build(program, options.python))
    write_manuals(output)


def build(program: str, python: str) -> bytes:
    """Return the file that runs `program` of runtime/ with the interpreter `python`."""
    shebang = f"#!{python} -ISc{START}\n".encode()
    if len(shebang) > SHEBANG_MAXIMUM:
        sys.exit(f"build_zipapp.py: --python {python}: too long for a shebang")
    files = sorted(path.relative_to(SOURCES).as_posix() for path in modules_of(program))
    return shebang + compile_all(program, files, python) + archive(program, files)


def modules_of(program: str) -> "list[Path]":
    """Return the modules of the package `program`, and of all packages of SOURCES that they import."""
    modules: list[Path] = []
    packages = [program]
    for package in packages:  # the list grows during the loop
        added = list((SOURCES / package).rglob("*.py"))
        imported = {name for path in added for name in imports_of(path) if (SOURCES / name).is_dir()}
        packages += sorted(imported.difference(packages))
        modules += added
    return modules


def imports_of(path: Path) -> "set[str]":
    """Return the top-level packages and modules that the module at `path` imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def compile_all(program: str, files: "list[str]", python: str) -> bytes:
    """Return the pack that `python` compiles, or this interpreter if `python` is not installed."""
    interpreter = python if os.access(python, os.X_OK) else sys.executable
    # Without the columns of tracebacks the bytecode is a twelfth smaller.
    command = [interpreter, "-IS", "-Xno_debug_ranges", str(SOURCES / "pack/compiler.py"), program, *files]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, env={"PYTHONHASHSEED": "0"}).stdout


def archive(program: str, files: "list[str]") -> bytes:
    """Return a zip archive of the sources, always the same: sorted, dated 1980, stored."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        entries = [(name, (SOURCES / name).read_bytes()) for name in files]
        entries.append(("__main__.py", (SOURCES / program / "__main__.py").read_bytes()))
        for name, data in sorted(entries):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on every build machine
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, data)
    return content.getvalue()


def write_manuals(output: Path) -> None:
    """Write the man pages, and pyfetch's completion."""
    sys.path.insert(0, str(SOURCES))
    from pyfetch.help import EXAMPLES, MORE
    from pyfetch.options import VERBS as PYFETCH_VERBS
    from pyrun.commands import completion
    from pyrun.commands.help import TEXTS
    from pyrun.completion import bash, fish, zsh
    from pyrun.options import VERBS
    from pyrund.commands import completion as engine
    from pyrund.commands.help import TEXTS as ENGINE_TEXTS
    from pyrund.options import VERBS as ENGINE_VERBS

    pyrun, pyfetch = completion.program(), describe_pyfetch()
    usages = {verb: usage for verb, (usage, _, _) in VERBS.items()}
    write(output / "pyrun.1", manual(pyrun, usages, TEXTS), 0o644)
    usages = {verb: usage for verb, (usage, _, _) in ENGINE_VERBS.items()}
    write(output / "pyrund.1", manual(engine.program(), usages, ENGINE_TEXTS), 0o644)
    usages = {verb: usage for verb, (usage, _) in PYFETCH_VERBS.items()}
    texts = {verb: (MORE.get(verb, ""), example) for verb, example in EXAMPLES.items()}
    write(output / "pyfetch.1", manual(pyfetch, usages, texts), 0o644)
    for name, shell in (("bash", bash), ("zsh", zsh), ("fish", fish)):
        write(output / f"pyfetch.{name}", (shell.script(pyfetch) + "\n").encode(), 0o644)


def describe_pyfetch() -> "Program":
    """Return the description of pyfetch's command line."""
    from pyfetch.help import OPTIONS
    from pyfetch.options import VERBS, options_of
    from pyrun.completion import Command, Option, Program

    verbs = {}
    for verb, (usage, summary) in VERBS.items():
        options = []
        for one in options_of(verb):
            short = one.names[0] if len(one.names) > 1 else ""
            options.append(Option(short, one.names[-1], one.value, one.summary))
        takes = {"pull": "FILE", "login": "", "logout": ""}.get(verb, "ID" if usage else "")
        verbs[verb] = Command(summary, options, "ID..." if verb in ("rm", "push", "copy", "tag") else takes)
    options = [Option(names.rpartition(", ")[0], names.rpartition(", ")[2], "", summary) for names, summary in OPTIONS]
    return Program("pyfetch", verbs, options, "images | cut -d ' ' -f 1 | tail -n +2")


def manual(program: "Program", usages: "dict[str, str]", texts: "dict[str, tuple[str, str]]") -> bytes:
    """Return the man page of `program` in the format man(7), made from all of its help."""
    from pyrun import __version__

    name = program.name
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {__version__}" "User Commands"',
        ".SH NAME",
        rf"{name} \- {PURPOSES[name]}",
    ]
    lines += [".SH SYNOPSIS", f".B {name}", "[options] COMMAND [options] [arguments]"]
    if program.options:
        lines += [".SH OPTIONS", *(line for option in program.options for line in paragraph_of(option))]
    lines.append(".SH COMMANDS")
    for verb, command in program.commands.items():
        more, example = texts[verb]
        lines += [f".SS {name} {verb} {roff(usages[verb])}".rstrip(), *filled(f"{command.summary}.")]
        lines += [".PP", *filled(more)] if more else []
        lines += [line for option in command.options for line in paragraph_of(option)]
        lines += [".PP", "Example:", ".PP", ".RS 4", ".nf", *map(roff, example.split("\n")), ".fi", ".RE"]
    for title, paragraphs in SECTIONS[name].items():
        lines.append(f".SH {title}")
        for term, _, text in (one.partition(": ") for one in paragraphs):
            lines += [".TP", roff(term), *filled(text)]
    lines.append(".SH SEE ALSO")
    others = [one for one in ("pyrun", "pyfetch", "pyrund") if one != name]
    lines.append(", ".join(f".BR {one} (1)" for one in others).replace(", .BR", " ,\n.BR"))
    return "\n".join([*lines, ""]).encode()


def paragraph_of(option: "Option") -> "list[str]":
    names = ", ".join(rf"\fB{roff(name)}\fR" for name in option.names) + roff(option.may_take)
    return [".TP", f"{names} \\fI{roff(option.takes)}\\fR" if option.takes else names, *filled(option.summary)]


def filled(text: str, width: int = 70) -> "list[str]":
    return [roff(line) for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def roff(text: str) -> str:
    """Return `text` with the characters escaped that roff interprets: groff_char(7), and a dot that begins a line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def write(path: Path, content: bytes, mode: int = 0o755) -> None:
    """Replace the file at `path` atomically, so that a running program never reads half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.rename(path)
    print(f"{path}  {len(content):,} bytes")


if __name__ == "__main__":
    main()
