-- Removes all keys of the queue. It reads the names of all keys of the server.
-- Keys: all of the queue's. Arguments: none.
-- Result: {}.

for _, key in ipairs(call('KEYS', P .. '*')) do call('UNLINK', key) end
return {}
