-- What the embedded token store keeps. The records are packed by `token_store/record.rs`, the same as in
-- Redis. `collect_at` (milliseconds since 1970) decides nothing: from then on a row is garbage.
-- There is no index on it: a sweep walks the tables in small steps, so that a refresh updates one
-- row in place and no index.

CREATE TABLE sessions (
    id BLOB PRIMARY KEY NOT NULL,
    collect_at BIGINT NOT NULL,
    record BLOB NOT NULL
);

-- Login states, authorization codes, replayed ids: the kind, then the digest.
CREATE TABLE one_time (
    key BLOB PRIMARY KEY NOT NULL,
    collect_at BIGINT NOT NULL,
    record BLOB NOT NULL
);

-- The position of the revocation log that has been applied to each of the 256 buckets of sessions, and when
-- it was last found behind.
CREATE TABLE buckets (
    bucket INTEGER PRIMARY KEY NOT NULL,
    position BIGINT NOT NULL,
    went_back_at BIGINT NOT NULL
);
