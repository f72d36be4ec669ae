"""Decisions as pure functions: no await, no I/O, no clock."""
