-- What the chassis keeps in every service's database.

-- Every event of every aggregate, in the order of each aggregate; its unpublished tail is the outbox.
CREATE TABLE events (
    position     bigint GENERATED ALWAYS AS IDENTITY,
    subject      text        NOT NULL, -- the aggregate's resource name
    version      integer     NOT NULL, -- 1, 2, 3 ... for each subject
    type         text        NOT NULL, -- the message's full name
    payload      bytea       NOT NULL,
    create_time  timestamptz NOT NULL,
    trace        text        NOT NULL, -- W3C traceparent
    publish_time timestamptz,          -- null: still to be published
    PRIMARY KEY (subject, version)
);
CREATE INDEX events_unpublished ON events (position) WHERE publish_time IS NULL;

-- Answers already given, so that a request sent again gets the same one.
CREATE TABLE requests (
    caller      text        NOT NULL,
    id          uuid        NOT NULL,
    digest      bytea       NOT NULL, -- of method and request
    response    bytea       NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (caller, id)
);

-- Events of other services whose effect is done.
CREATE TABLE inbox (
    id          text        PRIMARY KEY,
    create_time timestamptz NOT NULL
);

-- Events that could not be handled.
CREATE TABLE dead_letters (
    id          text        PRIMARY KEY,
    source      text        NOT NULL,
    type        text        NOT NULL,
    key         text        NOT NULL,
    payload     bytea       NOT NULL,
    trace       text        NOT NULL,
    event_time  timestamptz NOT NULL,
    error       text        NOT NULL,
    attempts    integer     NOT NULL,
    create_time timestamptz NOT NULL
);

-- Sagas: where each one stands, and who carries it on until when.
CREATE TABLE sagas (
    kind        text        NOT NULL,
    subject     text        NOT NULL, -- what it carries out: a resource name
    status      text        NOT NULL, -- running, unwinding, done or undone
    done        integer     NOT NULL, -- steps done and not yet undone
    attempts    integer     NOT NULL, -- tries of the current step
    error       text        NOT NULL, -- of the last try
    refusal     jsonb,                -- why it unwinds: step, reason, message
    step_time   timestamptz NOT NULL, -- since when it is at the current step
    update_time timestamptz NOT NULL,
    due_time    timestamptz NOT NULL, -- not to be tried before
    trace       text        NOT NULL, -- W3C traceparent
    owner       text        NOT NULL, -- the instance that carries it on; empty: nobody
    lease_time  timestamptz NOT NULL, -- until when it is the owner's
    PRIMARY KEY (kind, subject)
);
CREATE INDEX sagas_live ON sagas (due_time) WHERE status IN ('running', 'unwinding');
