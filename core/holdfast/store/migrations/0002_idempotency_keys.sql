-- What came of a change that was asked for under a key: its job, or, of a call without one, its answer.
CREATE TABLE idempotency_keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    job_id TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    answer TEXT,
    kept_at TEXT NOT NULL,
    UNIQUE (principal, method, path, key),
    CHECK ((job_id IS NULL) <> (answer IS NULL))
) STRICT;
CREATE INDEX idempotency_keys_by_principal ON idempotency_keys (principal, number);
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (kept_at);
