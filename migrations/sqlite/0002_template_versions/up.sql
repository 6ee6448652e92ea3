-- A role's template belongs to the role (tenant '') or to one tenant, which then has its own of that role.
-- The ceiling is the template of the most that such an override may grant; without one there are no overrides.
ALTER TABLE roles ADD COLUMN ceiling TEXT;
ALTER TABLE roles ADD COLUMN ceiling_since BIGINT;

ALTER TABLE template_versions RENAME TO former_versions;
CREATE TABLE template_versions (
    role TEXT NOT NULL REFERENCES roles (role) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    published_at BIGINT NOT NULL,
    published_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    superseded_at BIGINT,
    PRIMARY KEY (role, tenant, version)
);
INSERT INTO template_versions
SELECT v.role, '', v.version, v.state, v.source, v.created_at, v.created_by, v.created_at, v.created_by, v.reason,
    (SELECT MIN(n.created_at) FROM former_versions n WHERE n.role = v.role AND n.version > v.version)
FROM former_versions v;
DROP TABLE former_versions;
-- One version counts, whatever happens.
CREATE UNIQUE INDEX template_versions_published ON template_versions (role, tenant) WHERE state = 'published';
CREATE INDEX template_versions_by_tenant ON template_versions (tenant);

CREATE TABLE template_drafts (
    role TEXT NOT NULL REFERENCES roles (role) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    revision BIGINT NOT NULL,
    source TEXT NOT NULL,
    saved_at BIGINT NOT NULL,
    saved_by TEXT NOT NULL,
    PRIMARY KEY (role, tenant)
);
CREATE INDEX template_drafts_by_tenant ON template_drafts (tenant);

-- templates: raised by whatever the boundary proof rests on. drafts: their revisions, so that none comes twice.
INSERT INTO heads (name, position) VALUES ('templates', 0), ('drafts', 0);
