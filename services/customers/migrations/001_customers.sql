CREATE TABLE customers (
    name    text    COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    state   bytea   NOT NULL -- mercato.customers.v1.Customer
);
