"""Holdfast plugin: shares over NFS with the kernel's server."""
