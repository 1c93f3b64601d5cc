"""What a process of ours gives up before it enters a container."""

import _signal
import sys

_sealed: "list[object]" = []


def seal_imports() -> None:
    """Make any further import fail.

    Behind pivot_root, sys.path names directories of the container: an import, or the look-up of a codec, would run the
    container's code with the runtime's privileges (the same mistake in Docker's cp was CVE-2019-14271).
    """
    _sealed.extend((*sys.meta_path, *sys.path_importer_cache.values()))  # taking them apart would take 0.2 ms
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def reset_signals() -> None:
    """Take back what the interpreter and our caller did to signals: ignored ones and the mask outlive execve."""
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):  # None: kept by the C library for itself
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
