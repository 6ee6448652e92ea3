DROP TABLE upstream_sessions;
DROP TABLE logout_tokens;
