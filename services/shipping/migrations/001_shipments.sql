CREATE TABLE shipments (
    name    text    COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    state   bytea   NOT NULL -- mercato.shipping.v1.Shipment
);
