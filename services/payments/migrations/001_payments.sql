CREATE TABLE payments (name text PRIMARY KEY, version integer NOT NULL, state bytea NOT NULL);
CREATE TABLE credits (name text PRIMARY KEY, version integer NOT NULL, state bytea NOT NULL);
CREATE TABLE fees (name text PRIMARY KEY, version integer NOT NULL, state bytea NOT NULL);

-- An entry is both a debit and a credit, so that the books cannot be out of balance.
CREATE TABLE ledger_entries (
    position       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_account  text        NOT NULL,
    credit_account text        NOT NULL CHECK (credit_account <> debit_account),
    amount_minor   bigint      NOT NULL CHECK (amount_minor > 0),
    currency       text        NOT NULL,
    subject        text        NOT NULL, -- what it books
    create_time    timestamptz NOT NULL
);
CREATE INDEX ledger_entries_subject ON ledger_entries (subject, position);

-- The books of the simulated card processor. Nothing of ours joins them.
CREATE TABLE processor_payments (
    payment        text   PRIMARY KEY,
    currency       text   NOT NULL,
    amount_minor   bigint NOT NULL,
    state          text   NOT NULL CHECK (state IN ('authorized', 'declined', 'captured', 'reversed')),
    captured_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor <= captured_minor)
);
CREATE TABLE processor_refunds (key text PRIMARY KEY, currency text NOT NULL, amount_minor bigint NOT NULL);
CREATE TABLE processor_credits (key text PRIMARY KEY, currency text NOT NULL, amount_minor bigint NOT NULL);
