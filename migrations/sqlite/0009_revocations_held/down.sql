DROP INDEX revocations_by_held;
