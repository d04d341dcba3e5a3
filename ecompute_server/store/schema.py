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


@migrations()
def every_right(db: Database) -> None:
    """Ingress rules, session keys and ended sessions, tokens with opaque ids, kept answers."""
    db.conn.execute("ALTER TABLE containers ADD COLUMN ingress TEXT NOT NULL DEFAULT '[]'")
    db.conn.execute("ALTER TABLE containers ADD COLUMN rules_made INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("ALTER TABLE users ADD COLUMN sessions_since REAL NOT NULL DEFAULT 0")
    db.conn.execute(
        "CREATE TABLE signing_keys (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL,"
        " retired_at INTEGER) STRICT"
    )
    # sessions of before are signed by the key of this name
    db.conn.execute("INSERT INTO signing_keys VALUES ('1', 0, NULL)")
    db.conn.execute(
        "CREATE TABLE ended_sessions (id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.conn.execute("ALTER TABLE tokens RENAME TO old_tokens")
    db.conn.execute("DROP INDEX idx_tokens_user_id")
    db.conn.execute(
        "CREATE TABLE tokens (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, name TEXT NOT NULL,"
        " secret_hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, created_at INTEGER NOT NULL,"
        " expires_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL) STRICT"
    )
    db.conn.execute(
        "INSERT INTO tokens SELECT CAST(id AS TEXT), user_id, name, secret_hash, scopes, created_at,"
        " expires_at, last_used_at FROM old_tokens"
    )
    db.conn.execute("DROP TABLE old_tokens")
    db.table("tokens").create_index(["user_id"])
    db.conn.execute(
        "CREATE TABLE receipts (user_id TEXT NOT NULL, path TEXT NOT NULL, key TEXT NOT NULL,"
        " asked TEXT NOT NULL, body BLOB NOT NULL, created_at INTEGER NOT NULL,"
        " PRIMARY KEY (user_id, path, key)) STRICT, WITHOUT ROWID"
    )
    db.table("receipts").create_index(["created_at"])
    _count_revocations(db)


def _count_revocations(db: Database) -> None:
    # by triggers, so that no writer in any process can forget it
    db.conn.execute("CREATE TABLE revocations (count INTEGER NOT NULL) STRICT")
    db.conn.execute("INSERT INTO revocations VALUES (0)")
    for name, moment in (
        ("user_changed", "UPDATE ON users"),
        ("user_removed", "DELETE ON users"),
        ("token_changed", "UPDATE OF user_id, secret_hash, scopes, expires_at ON tokens"),
        ("token_removed", "DELETE ON tokens"),
        ("session_ended", "INSERT ON ended_sessions"),
        ("signing_key_removed", "DELETE ON signing_keys"),
    ):
        db.conn.execute(
            f"CREATE TRIGGER {name} AFTER {moment} BEGIN UPDATE revocations SET count = count + 1; END"
        )
