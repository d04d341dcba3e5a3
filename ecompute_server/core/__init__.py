"""What the server decides, without doing any of it: pure functions over frozen records."""
