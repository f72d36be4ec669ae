"""Pools, volumes and snapshots by LVM, file systems by XFS."""
