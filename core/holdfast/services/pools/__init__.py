"""Pools: their disks, their names, and what their room is used for."""
