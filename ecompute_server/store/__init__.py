"""What the server remembers, in one SQLite file."""
