"""A reservation as the kernel writes it into its file (target_core_pr.c, core_scsi3_update_aptpl_buf)."""

from __future__ import annotations

from holdfast.hooks.target import TargetSpec


def registered(spec: TargetSpec, key: str = "0x1234") -> str:
    """The first initiator of a target is registered with its first unit."""
    return "\n".join(
        (
            "PR_REG_START: 0",
            "initiator_fabric=iSCSI",
            f"initiator_node={spec.access[0].initiator}",
            "initiator_sid=0x00023d000001",
            f"sa_res_key={int(key, 16)}",
            "res_holder=1",
            "res_type=05",
            "res_scope=00",
            "res_all_tg_pt=0",
            f"mapped_lun={spec.units[0].lun}",
            "target_fabric=iSCSI",
            f"target_node={spec.iqn}",
            "tpgt=1",
            "port_rtpi=1",
            f"target_lun={spec.units[0].lun}",
            "PR_REG_END: 0",
            "",
        )
    )
