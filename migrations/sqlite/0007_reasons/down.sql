DROP INDEX revocations_by_session;
DROP INDEX revocations_by_tenant;
DROP INDEX revocations_by_kind;
ALTER TABLE revocations DROP COLUMN revoked_by;
ALTER TABLE revocations DROP COLUMN named;
ALTER TABLE revocations DROP COLUMN kind;
DROP INDEX ended_sessions_by_end;
ALTER TABLE ended_sessions DROP COLUMN address;
ALTER TABLE ended_sessions DROP COLUMN cause;
