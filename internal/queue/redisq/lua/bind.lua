-- Binds the queue to a database.
-- Keys: workers, bound. Arguments: owner = "INSTANCE HOST" or ''.
-- Result: {}, or {"INSTANCE HOST"} that has the queue already.

return {bind(arg.owner)}
