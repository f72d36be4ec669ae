"""Targets, and who may log in to them."""
