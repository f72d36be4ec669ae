"""What may be done, whatever carries it: locks, intent, jobs, events; a room for each noun, and what all share here."""
