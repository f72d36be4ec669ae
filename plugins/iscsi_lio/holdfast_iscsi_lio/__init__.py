"""iSCSI targets by the kernel's own target, LIO, without rtslib: configfs is written directly.

Plan: `tree` says what is wanted, `actual` reads what is, `plan` makes steps of the difference, `apply` acts.
"""
