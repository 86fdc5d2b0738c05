-- +goose Up

-- For lists and statistics, which read nothing but an index until they know what to show.
-- What can be filtered, in the order in which deliveries are listed: of all servers, and of one.
CREATE INDEX delivery_listed ON delivery (id, state, route, serial, realm, created_ms);
DROP INDEX delivery_route;
CREATE INDEX delivery_route ON delivery (route, id, state, serial, realm, created_ms);
-- How deliveries ended. It begins with reason, for it is meant for no other query: those of the relay have indexes of their own.
CREATE INDEX delivery_outcome ON delivery (reason, state, route, updated_ms, created_ms, realm);
