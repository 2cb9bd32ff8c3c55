"""Consumer-driven contracts for gRPC: Pact V4 files without a plugin, streams and errors included.

A consumer's test says what it asks and what it needs to be answered (`consumer`), while its real client code talks to
a mock (`mock`). What was agreed is written as a pact with just those descriptors inside that the consumer uses
(`schema`, `pacts`). The provider really runs; the stock Pact verifier asks it through a bridge (`bridge`), and a gate
that nothing passes by accident judges what came out (`gate`).

Nothing here knows any business: to use it elsewhere, take this folder.
"""
