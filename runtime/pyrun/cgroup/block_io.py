"""linux.resources.blockIO: v1's blkio, v2's io. As with Go's callers, 0 is absence; of a rate it is no limit."""

from pyrun.cgroup.setting import Setting
from pyrun.spec.linux import BlockIO, WeightDevice

# Weights are the business of the I/O scheduler: v1's own until Linux 5.0 (CFQ), today that of BFQ, or v2's iocost.


def settings(block_io: BlockIO, v2: bool) -> "list[Setting]":
    _check_weights(block_io)
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


def _check_weights(block_io: BlockIO) -> None:
    for name, weight in (("weight", block_io.weight), ("leafWeight", block_io.leaf_weight)):
        if weight and not 10 <= weight <= 1000:
            raise block_io.json.error(name, f"{weight} is not between 10 and 1000")
    for i, device in enumerate(block_io.weight_devices):
        for name, weight in (("weight", device.weight), ("leafWeight", device.leaf_weight)):
            if weight and not 10 <= weight <= 1000:
                raise block_io.json.error(f"weightDevice[{i}].{name}", f"{weight} is not between 10 and 1000")


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
