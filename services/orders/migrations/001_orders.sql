CREATE TABLE orders (
    name     text    PRIMARY KEY,
    version  integer NOT NULL,
    state    bytea   NOT NULL,
    customer text    NOT NULL,
    status   integer NOT NULL
);
CREATE INDEX orders_customer ON orders (customer, name);
CREATE INDEX orders_live ON orders (status, name) WHERE status IN (1, 4); -- STATE_PLACED, STATE_CANCELLING

CREATE TABLE returns (
    name     text    PRIMARY KEY,
    version  integer NOT NULL,
    state    bytea   NOT NULL,
    purchase text    NOT NULL -- the order's name; empty where it is not linked to one
);
CREATE INDEX returns_purchase ON returns (purchase, name);
