-- Why a session ended, for programs (JSON), and where whoever ended it called from.
ALTER TABLE ended_sessions ADD COLUMN cause TEXT;
ALTER TABLE ended_sessions ADD COLUMN address TEXT;
CREATE INDEX ended_sessions_by_end ON ended_sessions (would_have_ended_at);

-- What an entry of the log is about, so that what ended a session is found; and who wrote it.
ALTER TABLE revocations ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE revocations ADD COLUMN named TEXT;
ALTER TABLE revocations ADD COLUMN revoked_by TEXT;
UPDATE revocations SET kind = target::json ->> 'target';
UPDATE revocations SET named = target::json ->> 'value' WHERE kind IN ('subject', 'tenant', 'client', 'provider');
CREATE INDEX revocations_by_kind ON revocations (kind, named);
CREATE INDEX revocations_by_tenant ON revocations (tenant_id, position);
CREATE INDEX revocations_by_session ON revocations (session_id) WHERE session_id IS NOT NULL;
