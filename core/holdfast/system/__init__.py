"""The kernel's doors: one runner for commands, one for kernel trees, one clock."""
