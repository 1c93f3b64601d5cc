"""linux.resources.blockIO: blkio of v1, io of v2.

A weight of 0 means "not set", because callers written in Go send it so; a rate of 0 means "no limit".
"""

from pyrun.cgroup.setting import Setting
from pyrun.config.linux import BlockIO, WeightDevice

# The I/O scheduler implements weights: CFQ until Linux 5.0 (v1), today BFQ, or iocost on v2.


def settings(block_io: BlockIO, v2: bool) -> "list[Setting]":
    """Return the files to write, rates in bytes or operations a second. Raises ConfigError for leaf weights on v2."""
    found = _v2_weights(block_io) if v2 else _v1_weights(block_io)
    for v1_file, v2_key, devices in (
        ("read_bps", "rbps", block_io.read_bps),
        ("write_bps", "wbps", block_io.write_bps),
        ("read_iops", "riops", block_io.read_iops),
        ("write_iops", "wiops", block_io.write_iops),
    ):
        for device in devices:
            name = f"{device.major}:{device.minor}"
            if v2:
                found.append(Setting("io.max", f"{name} {v2_key}={device.rate or 'max'}"))
            else:
                found.append(Setting(f"blkio.throttle.{v1_file}_device", f"{name} {device.rate}"))
    return found


def _v1_weights(block_io: BlockIO) -> "list[Setting]":
    found = []
    if block_io.weight:
        found.append(Setting("blkio.weight", block_io.weight, otherwise=Setting("blkio.bfq.weight", block_io.weight)))
    if block_io.leaf_weight:
        found.append(Setting("blkio.leaf_weight", block_io.leaf_weight))
    for device in block_io.weight_devices:
        if device.weight:
            value = _of_device(device, device.weight)
            bfq = Setting("blkio.bfq.weight_device", value)
            found.append(Setting("blkio.weight_device", value, otherwise=bfq))
        if device.leaf_weight:
            found.append(Setting("blkio.leaf_weight_device", _of_device(device, device.leaf_weight)))
    return found


def _v2_weights(block_io: BlockIO) -> "list[Setting]":
    if block_io.leaf_weight:
        raise block_io.json.error("leafWeight", "cgroup v2 has no leaf weights")
    found = []
    if block_io.weight:
        iocost = Setting("io.weight", io_weight(block_io.weight))
        found.append(Setting("io.bfq.weight", block_io.weight, otherwise=iocost))
    for i, device in enumerate(block_io.weight_devices):
        if device.leaf_weight:
            raise block_io.json.error(f"weightDevice[{i}].leafWeight", "cgroup v2 has no leaf weights")
        if device.weight:
            iocost = Setting("io.weight", _of_device(device, io_weight(device.weight)))
            found.append(Setting("io.bfq.weight", _of_device(device, device.weight), otherwise=iocost))
    return found


def _of_device(device: WeightDevice, weight: int) -> str:
    return f"{device.major}:{device.minor} {weight}"


def io_weight(weight: int) -> int:
    """Return io.weight (1..10000) for a blkio weight (10..1000), as runc and crun convert it."""
    return 1 + (weight - 10) * 9999 // 990
