"""What may be done, whatever carries it: locks, intent, jobs, events; one file for each noun."""
