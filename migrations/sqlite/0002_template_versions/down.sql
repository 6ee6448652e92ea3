DELETE FROM heads WHERE name IN ('templates', 'drafts');
DROP TABLE template_drafts;

-- Versions of tenants cannot be said any more.
ALTER TABLE template_versions RENAME TO later_versions;
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
INSERT INTO template_versions
SELECT role, version, state, source, published_at, published_by, reason FROM later_versions WHERE tenant = '';
DROP TABLE later_versions;

ALTER TABLE roles DROP COLUMN ceiling_since;
ALTER TABLE roles DROP COLUMN ceiling;
DELETE FROM documents WHERE name = 'template_limits';
