"""The `ecompute` command: what the sync client offers, for people and for scripts.

It comes with the extra `cli`. `exits` is the table of exit codes; `app` names the commands, each of which is
loaded when it is called.
"""
