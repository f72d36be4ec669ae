"""Mirrors of blocks between two nodes by DRBD 8.4, driven by drbdsetup and drbdmeta alone: no configuration file."""
