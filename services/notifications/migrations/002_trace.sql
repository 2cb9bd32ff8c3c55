-- The trace a mail was written in, which its delivery goes on with: W3C traceparent, empty for mails from before.
ALTER TABLE mails ADD COLUMN trace text NOT NULL DEFAULT '';
