-- What the user asked for. Reality is read from the drivers, never from here.
CREATE TABLE intent (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    uuid TEXT NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;

-- Secrets apart from documents, so that no document, job or event can show one.
CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    parameters TEXT NOT NULL,
    facts TEXT NOT NULL,
    state TEXT NOT NULL,
    progress_percent REAL,
    progress_text TEXT NOT NULL,
    error TEXT,
    result TEXT,
    origin_node TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state);

CREATE TABLE job_steps (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT;

CREATE TABLE job_log (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    at TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Tokens are kept as hashes: whoever reads the database cannot use the API with them.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    job_id TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    result TEXT,
    reason TEXT,
    counts TEXT
) STRICT;
CREATE INDEX runs_by_task ON runs (task, id);
