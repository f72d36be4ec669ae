"""Failover of groups between two nodes: evidence, decision, virtual addresses."""
