"""The only place that gives errors of the kernel a meaning."""

from __future__ import annotations

import errno

from holdfast.errors import BusyError, ConflictError, HoldfastError, NotFoundError, Reason
from holdfast_iscsi_lio.plan import Step


class KernelRefusal(Exception):
    """A step that the kernel did not take. It does not leave this plugin."""

    def __init__(self, step: Step, reason: OSError) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


def translated(refusal: KernelRefusal) -> HoldfastError:
    """The error that tells a caller what to do."""
    number, path = refusal.reason.errno, refusal.step.path
    if "/core/" in path and (path.endswith("/enable") or number == errno.EFBIG):
        return _open_failed(number, path)
    if (found := _FIELDS.get("/".join(path.rsplit("/", 2)[1:]))) is not None:
        field, text, remedy = found
        return ConflictError(f"{path}: {text}", reasons=[Reason("device-cannot", text, remedy, field)])
    if "/np/" in path and number in (errno.EADDRINUSE, errno.EINVAL):
        # Its form was checked before: what is left is that it cannot be bound (iscsi_target_login.c, iscsit_setup_np).
        portal = path.rpartition("/")[2]
        text = f"the portal {portal} cannot be bound: another program has the port"
        return ConflictError(text, reasons=[Reason("port-taken", text, "choose another port, or end it", "portals")])
    if number == errno.EBUSY:
        return BusyError(
            f"{path} is used by another object of the kernel",
            reasons=[
                Reason("in-use", f"something links to {path}", "remove what links to it with the tool that made it")
            ],
        )
    return HoldfastError(f"the kernel refused {refusal.step}: {refusal.reason.strerror}")


_FIELDS = {
    "attrib/block_size": (
        "units.block_size_bytes",
        "the device has larger blocks than it is to show",
        "give the unit the block size of its device",
    ),
    "attrib/emulate_tpu": ("units.may_unmap", "the device cannot unmap", "turn unmap off for this unit"),
    "attrib/emulate_tpws": ("units.may_unmap", "the device cannot unmap", "turn unmap off for this unit"),
    "attrib/optimal_sectors": (
        "units.optimal_blocks",
        "the device takes no transfer of that length",
        "give the unit a smaller number, or none",
    ),
}


def _open_failed(number: int | None, path: str) -> HoldfastError:
    """Why a backstore could not open its device (target_core_iblock.c, iblock_configure_device)."""
    store = path.split("/")[-2]
    match number:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return NotFoundError(
                f"the device of {store} does not exist",
                reasons=[Reason("no-device", f"the device of {store} does not exist", "bring its mirror or volume up")],
            )
        case errno.EFBIG:
            text = f"the file of {store} is smaller than is on record"
            remedy = "look at what changed it; it is served again once it has its size"
            return ConflictError(text, reasons=[Reason("file-size", text, remedy)])
        case errno.EROFS | errno.EMEDIUMTYPE | errno.EACCES:
            # DRBD answers so on a Secondary: EROFS to a writer, EMEDIUMTYPE to a reader.
            return ConflictError(
                f"the device of {store} may not be written on this node",
                reasons=[Reason("not-primary", f"the mirror under {store} is not Primary here", "promote it first")],
            )
        case errno.EBUSY:
            return BusyError(
                f"the device of {store} is in use",
                reasons=[Reason("device-held", f"something holds the device of {store}", "unmount or close it first")],
            )
        case _:
            text = errno.errorcode.get(number or 0, str(number))
            return HoldfastError(f"the kernel could not open the device of {store}: {text}")
