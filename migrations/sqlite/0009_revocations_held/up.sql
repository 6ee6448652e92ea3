-- What is alive is found without a walk through what is kept for long after.
CREATE INDEX revocations_by_held ON revocations (held_until, position);
