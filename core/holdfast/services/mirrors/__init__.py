"""Mirrors: made, watched, compared, mended, and grown on both nodes."""
