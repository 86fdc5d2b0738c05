-- +goose Up

-- realm of the token's owner when the message was made ('' : none), so that an administrator's rows can be told apart from those
-- of other realms.
ALTER TABLE delivery ADD COLUMN realm TEXT NOT NULL DEFAULT '';

CREATE INDEX delivery_route ON delivery (route, id);
CREATE INDEX delivery_serial ON delivery (serial, id);

-- diagnosis says in one word what an administrator should look at, such as certificate_expired; '' : nothing is wrong or known.
ALTER TABLE attempt ADD COLUMN diagnosis TEXT NOT NULL DEFAULT '';

-- revision rises with each change, so that the second of two administrators is told.
ALTER TABLE smtp_server ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
