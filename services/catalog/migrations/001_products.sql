CREATE TABLE products (
    name    text     COLLATE "C" PRIMARY KEY,
    version integer  NOT NULL,
    state   bytea    NOT NULL, -- mercato.catalog.v1.Product
    terms   text     NOT NULL, -- what a search may start with, one a line
    search  tsvector NOT NULL GENERATED ALWAYS AS (array_to_tsvector(string_to_array(terms, E'\n'))) STORED
);
CREATE INDEX products_search ON products USING gin (search);
