-- What was done, piece by piece. One that is sent again stays as it came first.
CREATE TABLE spans (
    trace_id  text    NOT NULL, -- 32 hexadecimal digits
    span_id   text    NOT NULL, -- 16 hexadecimal digits
    parent_id text    NOT NULL, -- empty: none
    name      text    NOT NULL,
    service   text    NOT NULL,
    instance  text    NOT NULL,
    version   text    NOT NULL,
    start_ns  bigint  NOT NULL, -- since 1970
    end_ns    bigint  NOT NULL,
    failed    boolean NOT NULL,
    keep      text    NOT NULL, -- why its trace is to be kept: error, slow, compensation; empty: it does not say
    subject   text    NOT NULL, -- the aggregate it is about; empty: none
    data      bytea   NOT NULL, -- opentelemetry.proto.trace.v1.Span, as it came but cut to size
    PRIMARY KEY (trace_id, span_id)
);

-- What the spans of each trace say together: made anew from them whenever more of them came.
CREATE TABLE traces (
    trace_id    text        PRIMARY KEY,
    keep        text        NOT NULL, -- undecided, or why it was decided to keep it
    update_time timestamptz NOT NULL, -- when the last of its spans came
    root        text        NOT NULL,
    service     text        NOT NULL,
    start_ns    bigint      NOT NULL,
    end_ns      bigint      NOT NULL,
    span_count  integer     NOT NULL,
    error_count integer     NOT NULL,
    services    text[]      NOT NULL, -- in order of their first span
    subjects    text[]      NOT NULL,
    names       text[]      NOT NULL, -- of its spans
    reasons     text[]      NOT NULL  -- to keep it
);
CREATE INDEX traces_start ON traces (start_ns, trace_id);
CREATE INDEX traces_undecided ON traces (update_time) WHERE keep = 'undecided';
CREATE INDEX traces_subjects ON traces USING gin (subjects);

-- The lines of all logs.
CREATE TABLE logs (
    id       bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order they came
    time_ns  bigint   NOT NULL, -- since 1970
    severity smallint NOT NULL, -- mercato.telemetry.v1.Severity
    service  text     NOT NULL,
    instance text     NOT NULL,
    trace_id text     NOT NULL, -- empty: none
    data     bytea    NOT NULL  -- opentelemetry.proto.logs.v1.LogRecord, as it came but cut to size
);
CREATE INDEX logs_time ON logs (time_ns, id);
CREATE INDEX logs_trace ON logs (trace_id, time_ns, id) WHERE trace_id <> '';

-- How metrics went: a point where one is not as it was, and now and then where it is.
CREATE TABLE points (
    time       timestamptz      NOT NULL,
    metric     text             NOT NULL,
    service    text             NOT NULL,
    instance   text             NOT NULL,
    attributes text             NOT NULL, -- as JSON
    value      double precision NOT NULL, -- of what only grows: its growth in a second
    p99_s      double precision NOT NULL  -- of a histogram
);
CREATE INDEX points_metric ON points (metric, time);
CREATE INDEX points_time ON points (time);

-- Calls as their callers saw them, for the objectives of their methods.
CREATE TABLE calls_by_minute (
    minute timestamptz NOT NULL,
    method text        NOT NULL, -- package.Service/Method
    calls  bigint      NOT NULL,
    faults bigint      NOT NULL,
    slow   bigint      NOT NULL, -- slower than the method's objective
    PRIMARY KEY (minute, method)
);

-- How far the calls of each process were counted: telemetry that starts again goes on from there.
CREATE TABLE calls_counted (
    process text        NOT NULL, -- its service, instance and beginning, as JSON
    series  text        NOT NULL, -- attributes and bounds, as JSON
    time    timestamptz NOT NULL, -- when they were counted last
    buckets bigint[]    NOT NULL, -- how many there were until then, by how long they took
    PRIMARY KEY (process, series)
);
