-- Whose tokens an entry ends, as a JSON list of audiences. NULL: anybody's.
ALTER TABLE revocations ADD COLUMN audience TEXT;
