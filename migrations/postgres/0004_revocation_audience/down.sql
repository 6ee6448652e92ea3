ALTER TABLE revocations DROP COLUMN audience;
