DROP TABLE buckets;
DROP TABLE one_time;
DROP TABLE sessions;
