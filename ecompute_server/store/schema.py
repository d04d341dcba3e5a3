"""The tables, as migrations that are only ever appended to."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("ecompute_server")


@migrations()
def first_light(db: Database) -> None:
    """Accounts, keys, tokens, containers and the journal of effects."""
    db.create_table("meta", {"key": str, "value": str}, pk="key", strict=True)
    db.create_table(
        "users",
        {
            "id": str,
            "username": str,
            "display_name": str,
            "password_hash": str,
            "is_admin": int,
            "created_at": int,
            "max_containers": int,
            "max_ssh_keys": int,
        },
        pk="id",
        strict=True,
    )
    db.table("users").create_index(["username"], unique=True)
    # AUTOINCREMENT, since ids of keys and tokens are never given twice
    db.conn.execute(
        "CREATE TABLE ssh_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL,"
        " name TEXT NOT NULL, public_key TEXT NOT NULL, fingerprint TEXT NOT NULL,"
        " created_at INTEGER NOT NULL, UNIQUE (user_id, fingerprint)) STRICT"
    )
    db.conn.execute(
        "CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL,"
        " name TEXT NOT NULL, secret_hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,"
        " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL) STRICT"
    )
    db.table("tokens").create_index(["user_id"])
    db.create_table(
        "containers",
        {
            "id": str,
            "user_id": str,
            "name": str,
            "instance_type": str,
            "memory_mb": int,
            "storage_gb": int,
            "mount_paths": str,
            "ssh_enabled": int,
            "authorized_keys": str,
            "created_at": int,
            "external_ip": str,
            "ssh_host_key": str,
            "image": str,
            "status": str,
            "generation": int,
            "reason": str,
            "deleted": int,
        },
        pk="id",
        strict=True,
    )
    db.table("containers").create_index(["user_id", "deleted"])
    db.table("containers").create_index(["external_ip"], unique=True)
    db.conn.execute(
        "CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, container_id TEXT NOT NULL,"
        " generation INTEGER NOT NULL, kind TEXT NOT NULL) STRICT"
    )
    db.table("effects").create_index(["container_id"])
