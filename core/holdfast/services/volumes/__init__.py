"""Volumes, and the file systems on them."""
