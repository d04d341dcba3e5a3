"""A guest's network: never the host's own, and guarded ways through.

`interface` says what walls and a guest's network are. Three kinds of walls stand beside it: `namespace` (the
one that is wanted), `firewall` and `restricted` (for hosts that do not allow it); `host` says which of them
this host allows. Never is there a guest without any.

`wrapper` and `routes` put QEMU into a private user and network namespace, `outbound` is the way out
(slirp4netns), `entrance` and `forwards` are the way in; `addresses` tells when the routes need more.
`direct` is the way in where QEMU has the host's network.
"""
