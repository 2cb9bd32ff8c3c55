-- Instances as they were last known, so that a mesh which was started again has something to tell.
CREATE TABLE instances (
    name  text  PRIMARY KEY,
    state bytea NOT NULL -- mercato.mesh.v1.Instance without its load
);

CREATE TABLE policies (
    name  text  PRIMARY KEY,
    state bytea NOT NULL -- mercato.mesh.v1.Policy
);
