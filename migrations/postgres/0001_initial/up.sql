-- Times are milliseconds since 1970, from our clock. Documents are JSON.
CREATE TABLE heads (
    name TEXT PRIMARY KEY NOT NULL,
    position BIGINT NOT NULL
);
INSERT INTO heads (name, position) VALUES ('revocations', 0), ('changes', 0), ('keys', 0);

CREATE TABLE documents (
    name TEXT PRIMARY KEY NOT NULL,
    content TEXT NOT NULL
);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY NOT NULL,
    document TEXT NOT NULL
);

CREATE TABLE providers (
    id TEXT PRIMARY KEY NOT NULL,
    document TEXT NOT NULL
);
CREATE TABLE provider_tenants (
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    tenant_id TEXT NOT NULL,
    PRIMARY KEY (provider_id, tenant_id)
);
CREATE INDEX provider_tenants_by_tenant ON provider_tenants (tenant_id);
CREATE TABLE provider_domains (
    domain TEXT PRIMARY KEY NOT NULL,
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE
);

CREATE TABLE clients (
    id TEXT PRIMARY KEY NOT NULL,
    document TEXT NOT NULL
);

CREATE TABLE client_origins (
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    PRIMARY KEY (client_id, origin)
);
CREATE INDEX client_origins_by_origin ON client_origins (origin);

-- Whether a role may cross tenants stands beside its template, never in it.
CREATE TABLE roles (
    role TEXT PRIMARY KEY NOT NULL,
    crosses_tenants BOOLEAN NOT NULL
);
CREATE TABLE template_versions (
    role TEXT NOT NULL REFERENCES roles (role) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (role, version)
);

CREATE TABLE subjects (
    id TEXT PRIMARY KEY NOT NULL,
    provider_id TEXT NOT NULL,
    upstream_subject TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    claims TEXT NOT NULL,
    last_sign_in BIGINT NOT NULL
);

CREATE TABLE ended_sessions (
    session_id TEXT PRIMARY KEY NOT NULL,
    subject_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    would_have_ended_at BIGINT NOT NULL
);

CREATE TABLE audit_events (
    id BIGSERIAL PRIMARY KEY,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    tenant_id TEXT,
    subject_id TEXT,
    client_id TEXT,
    session_id TEXT,
    detail TEXT NOT NULL
);

-- The position comes from heads, raised in the same transaction: no gap, no late arrival.
CREATE TABLE revocations (
    position BIGINT PRIMARY KEY NOT NULL,
    target TEXT NOT NULL,
    tenant_id TEXT,
    session_id TEXT,
    bucket INTEGER,
    at BIGINT NOT NULL,
    held_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX revocations_by_bucket ON revocations (bucket, position);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

CREATE TABLE changes (
    position BIGINT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE derivation_keys (
    id INTEGER PRIMARY KEY NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
