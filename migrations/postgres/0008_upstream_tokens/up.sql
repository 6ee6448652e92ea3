-- What providers are asked with about people whose sessions go on (sealed), and what they last said of them.
CREATE TABLE upstream_tokens (
    session_id TEXT PRIMARY KEY NOT NULL,
    sealed TEXT,
    claims TEXT,
    vouched_at BIGINT NOT NULL,
    asking_until BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX upstream_tokens_by_end ON upstream_tokens (ends_at);
