"""Failover groups, and the plan that their monitors go by."""
