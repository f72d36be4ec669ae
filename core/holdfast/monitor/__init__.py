"""The failover monitor: a process of its own, which needs neither the daemon nor its database."""
