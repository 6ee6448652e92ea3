-- Logout tokens of providers that were heeded: none counts twice. The id is a digest of provider and `jti`.
CREATE TABLE logout_tokens (
    id TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX logout_tokens_by_expiry ON logout_tokens (expires_at);

-- Sessions at providers of which was heard lately. A sign-in that comes from one, and the word of its end, hold its
-- row until they commit, so that one of them sees the other.
CREATE TABLE upstream_sessions (
    provider_id TEXT NOT NULL,
    upstream_session TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, upstream_session)
);
CREATE INDEX upstream_sessions_by_expiry ON upstream_sessions (expires_at);
