"""Holdfast: decides, composes, watches and explains the storage of a pair of nodes."""

__version__ = "0.1.0"
