"""Shares, and those who may use them."""
