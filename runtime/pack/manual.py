"""The man pages of the programs, made from all of their help, and from what stands here beside it."""

import textwrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.completion import Option, Program

PURPOSES = {
    "pyrun": "an OCI container runtime",
    "pyfetch": "turn an image of a registry into a bundle",
    "pyrund": "an engine for containers",
}
# For each section, its paragraphs, "TERM: TEXT".
SECTIONS: "dict[str, dict[str, list[str]]]" = {
    "pyrun": {
        "EXIT STATUS": [
            "0: Success.",
            "1: An error; for validate, the config.json has errors; for doctor, no container can run.",
            "255: For exec, the process could not be executed.",
            "N: The status of the program, for run, exec and restore without --detach, and for wait the first that is "
            "not 0; 128+N if signal N ended it.",
            "128+N: Signal N interrupted pyrun; stats ends with 0 then.",
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
            "1: An error, a missing argument, or a wrong setting of serve.",
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


def manual(program: "Program", version: str, usages: "dict[str, str]", texts: "dict[str, tuple[str, str]]") -> bytes:
    """Return the man page of `program` in the format man(7), made from all of its help."""
    name = program.name
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {version}" "User Commands"',
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
