-- Until when what was due by a schedule of a task has been seen to. A job that it starts is one commit with this.
CREATE TABLE schedule_times (
    task TEXT NOT NULL,
    schedule TEXT NOT NULL,
    handled_until TEXT NOT NULL,
    PRIMARY KEY (task, schedule)
) STRICT;

-- Runs also tell of which task they were, whatever it was called, why they began, and when the source was frozen.
-- One that was skipped has no job.
CREATE TABLE runs_3 (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    task_uuid TEXT,
    job_id TEXT,
    schedule TEXT,
    due_at TEXT,
    started_at TEXT NOT NULL,
    frozen_at TEXT,
    ended_at TEXT,
    result TEXT,
    reason TEXT,
    counts TEXT
) STRICT;
INSERT INTO runs_3 (id, task, job_id, started_at, ended_at, result, reason, counts)
    SELECT id, task, job_id, started_at, ended_at, result, reason, counts FROM runs;
DROP TABLE runs;
ALTER TABLE runs_3 RENAME TO runs;
CREATE INDEX runs_by_task ON runs (task, id);
CREATE INDEX runs_by_job ON runs (job_id);
CREATE INDEX runs_by_copy ON runs (task_uuid, frozen_at) WHERE result = 'ok';
CREATE INDEX runs_by_age ON runs (started_at);
