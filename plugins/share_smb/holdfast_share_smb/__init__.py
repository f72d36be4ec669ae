"""Holdfast plugin: shares over SMB with Samba."""
