"""The table in words: OpenAPI for programs, Markdown and HTML for people. Loaded only by who asks."""
