"""The tables of the Debian image: what is installed, which drivers it has, which files get which rights."""

from __future__ import annotations

SYSTEM = ("?essential", "?priority(required)", "usr-is-merged", "usrmerge-")
"""What makes a Debian: apt's patterns, and the merged `/usr` without the package that merges it later."""

PROGRAMS = (
    "apt", "busybox-static", "ca-certificates", "curl", "dbus", "e2fsprogs", "git", "iproute2",
    "iputils-ping", "kmod", "less", "netbase", "openssh-server", "procps", "python3", "rsync", "sudo",
    "systemd", "systemd-sysv", "tmux", "tzdata", "udev", "vim-tiny",
)  # fmt: skip
"""What people expect on a machine that they log in to; and busybox, which starts it."""

BUSYBOX = "busybox-static"

BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net")
"""Loaded by the initramfs, in this order, each after those that it depends on."""
LATER_MODULES = ("virtio-rng", "button", "evdev", "virtio_balloon")
"""Loaded when nobody waits any more; those that an architecture has built in, or lacks, are left out."""
MODULES = (
    "autofs4", "loop", "fuse", "overlay", "squashfs", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
    "nls_iso8859-1", "dm-mod", "zram", "tun", "veth", "bridge", "br_netfilter", "dummy", "macvlan",
    "8021q", "wireguard", "nf_tables", "nft_chain_nat", "nft_compat", "nft_ct", "nft_fib",
    "nft_fib_inet", "nft_hash", "nft_limit", "nft_log", "nft_masq", "nft_nat", "nft_numgen", "nft_redir",
    "nft_reject", "nft_reject_inet", "nf_conntrack", "nf_nat", "nf_log_syslog", "nfnetlink", "x_tables",
    "ip_tables", "ip6_tables", "iptable_filter", "iptable_nat", "iptable_mangle", "ip6table_filter",
    "ip6table_nat", "ipt_REJECT", "ip6t_REJECT", "xt_MASQUERADE", "xt_REDIRECT", "xt_addrtype",
    "xt_comment", "xt_conntrack", "xt_limit", "xt_mark", "xt_multiport", "xt_nat", "xt_state",
    "xt_tcpudp", "xt_LOG", "xt_CHECKSUM", "sch_fq", "sch_fq_codel", "sch_htb", "sch_tbf", "sch_ingress",
    "tcp_bbr", "tcp_diag", "inet_diag", "unix_diag",
)  # fmt: skip
"""For `modprobe`: what containers, firewalls, tunnels and file images ask for; what the kernel lacks is left
out.
"""

DIRECTORIES = {"etc/ssh/authorized_keys.d": 0o755}
MODES = {"etc/machine-id": 0o444}
"""Rights of own files that differ from the rule: programs begin with `#!` and get 0755, other files 0644."""

DISK_SIZE = 4 << 30
"""Bytes that the guest sees; the file has only what is used."""
