-- +goose Up

-- Dead jobs are counted each second while somebody looks at the queue, beside a million that wait perhaps.
CREATE INDEX job_dead ON job (queue) WHERE state = 3;
