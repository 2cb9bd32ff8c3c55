CREATE TABLE mails (
    name        text        COLLATE "C" PRIMARY KEY, -- after the event it tells of: one mail an event
    state       integer     NOT NULL, -- mercato.notifications.v1.Mail.State
    recipient   text        NOT NULL,
    subject     text        NOT NULL,
    body        text        NOT NULL,
    regarding   text        NOT NULL,
    event_type  text        NOT NULL,
    create_time timestamptz NOT NULL,
    due_time    timestamptz NOT NULL -- not to be sent before
);
CREATE INDEX mails_regarding ON mails (regarding, name);
CREATE INDEX mails_queued ON mails (due_time) WHERE state = 2;
