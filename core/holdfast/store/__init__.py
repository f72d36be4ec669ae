"""Intent and history in SQLite: numbered migrations, one file for each table."""
