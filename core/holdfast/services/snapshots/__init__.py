"""Snapshots: taken, kept, mounted, rolled back to, copied, and watched as they fill."""
