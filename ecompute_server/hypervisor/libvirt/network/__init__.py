"""A guest's network: a QEMU that sees no network of the host's, and two guarded ways through.

`wrapper` and `walls` put QEMU into a private user and network namespace, `outbound` is the way out
(slirp4netns), `entrance` and `forwards` are the way in. `host` says what of it this host allows.
"""
