CREATE TABLE stocks (
    product text   PRIMARY KEY, -- products/{product}
    on_hand bigint NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
    held    bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    CONSTRAINT stocks_never_oversold CHECK (held <= on_hand)
) WITH (fillfactor = 70); -- rows change often: leave room beside them

CREATE TABLE reservations (
    name        text        PRIMARY KEY,
    version     integer     NOT NULL,
    state       bytea       NOT NULL,
    status      integer     NOT NULL,
    expire_time timestamptz NOT NULL
);
CREATE INDEX reservations_held ON reservations (expire_time) WHERE status = 1; -- STATE_HELD

-- Every change of what is on hand.
CREATE TABLE movements (
    position    bigint GENERATED ALWAYS AS IDENTITY,
    product     text        NOT NULL,
    reason      integer     NOT NULL, -- mercato.inventory.v1.Reason
    quantity    bigint      NOT NULL,
    reference   text        NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (product, position)
);
