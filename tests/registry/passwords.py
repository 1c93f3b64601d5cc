"""A file of passwords for docker-registry."""

import subprocess
import sys


def htpasswd(folder):
    """Make a file of passwords, `secret` of `me`, in `folder`; return the registry's configuration for it."""
    salted = "import crypt; print(crypt.crypt('secret', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))"
    made = subprocess.run([sys.executable, "-c", salted], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "htpasswd").write_text(f"me:{made.replace('$2b$', '$2y$')}\n")
    return f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n"
