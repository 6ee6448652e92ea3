-- How far each instance of a resource server has applied the revocation log, as it said last.
CREATE TABLE feed_readers (
    client_id TEXT NOT NULL,
    reader TEXT NOT NULL,
    position BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, reader)
);
CREATE INDEX feed_readers_by_report ON feed_readers (reported_at);
