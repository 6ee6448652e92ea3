-- The sessions that began with a sign-in. What lives of them is for the token store and the log to say.
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY NOT NULL,
    subject_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    upstream_session TEXT,
    begun_at BIGINT NOT NULL,
    begun BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
-- Lists go from the session that ends last backwards, so that they never meet one that is over by its time.
CREATE INDEX sessions_by_tenant ON sessions (tenant_id, ends_at, session_id);
CREATE INDEX sessions_by_subject ON sessions (subject_id, ends_at, session_id);
CREATE INDEX sessions_by_upstream ON sessions (provider_id, upstream_session) WHERE upstream_session IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (ends_at);
