-- +goose Up

-- Jobs of a lane share one fate (an SMTP server): a claim takes from each lane apart, and passes over those that are full. Jobs
-- from before are of the lane ''.
ALTER TABLE job ADD COLUMN lane TEXT NOT NULL DEFAULT '';

-- Kind and lane come first, so that a claim reads no job of a kind or lane that it does not want. not_after_ms is the last column, so that
-- stale jobs are passed over without a look at the table.
DROP INDEX job_ready;
CREATE INDEX job_ready ON job (queue, kind, lane, priority, run_at_ms, id, not_after_ms) WHERE state = 0;
DROP INDEX job_due;
CREATE INDEX job_due ON job (queue, kind, lane, run_at_ms, id) WHERE state = 2;

-- Of the dead jobs the oldest are deleted beyond a number.
DROP INDEX job_dead;
CREATE INDEX job_dead ON job (queue, run_at_ms) WHERE state = 3;
