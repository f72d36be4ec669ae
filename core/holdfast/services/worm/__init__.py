"""Volumes that are write once, read many."""
