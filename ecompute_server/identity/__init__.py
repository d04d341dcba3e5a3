"""Who is who: accounts, sessions, API tokens, and the secrets that everything is derived from."""
