"""Data replication of shares with rsync: an agent that accepts copies, and the copier."""
