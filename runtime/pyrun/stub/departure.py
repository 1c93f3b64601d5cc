"""What a process of the runtime gives up before it enters a container: imports and signal handlers."""

import _signal
import sys

_sealed: "list[object]" = []


def seal_imports() -> None:
    """Make any further import fail.

    After pivot_root, sys.path names directories of the container: an import, or the look-up of a codec, would run the
    container's code with the runtime's privileges (the same mistake in Docker's cp was CVE-2019-14271).
    """
    _sealed.extend((*sys.meta_path, *sys.path_importer_cache.values()))  # keep them: freeing them would take 0.2 ms
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def reset_signals() -> None:
    """Restore default handlers and an empty mask: ignored signals and the mask would survive execve(2)."""
    reset_handlers()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def reset_handlers() -> None:
    """Restore default handlers. The mask stays: a signal that is not blocked may now end this process."""
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):  # None: the C library uses it itself
            _signal.signal(number, _signal.SIG_DFL)
