"""Sizes for people, as docker prints them."""


def human(size: float, digits: int = 4) -> str:
    """Return bytes in units of 1000."""
    return _scaled(size, 1000, ("B", "kB", "MB", "GB", "TB"), digits)


def human_binary(size: float, digits: int = 4) -> str:
    """Return bytes in units of 1024."""
    return _scaled(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB"), digits)


def _scaled(size: float, base: int, units: "tuple[str, ...]", digits: int) -> str:
    for unit in units:
        if size < base or unit == units[-1]:
            break
        size /= base
    return f"{size:.{digits}g}{unit}"
