-- How a run found what to copy, and why so.
ALTER TABLE runs ADD COLUMN way TEXT;
ALTER TABLE runs ADD COLUMN way_reason TEXT;
