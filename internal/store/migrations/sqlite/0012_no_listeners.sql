-- +goose Up

-- A server refuses to dial its own listener only (dial.Guard). The SMTP client of a worker writes nothing before a greeting, which an
-- HTTP server never sends. A program that reads this table must not run on this schema.
DROP TABLE listener;

UPDATE instance SET oldest_program = 2;
