CREATE TABLE t (i INT, b BOOLEAN, d DOUBLE, `dec` DECIMAL(10, 2), s STRING, arr ARRAY<INT>, ms MULTISET<STRING>, r ROW<x INT, y ARRAY<ROW<z STRING>>>, `by` BYTES, si SMALLINT) WITH ('connector'='filesystem','path'='file://${DATA}/types.jsonl','format'='json','json.ignore-parse-errors'='true');
SELECT * FROM t;
SELECT r.y, r.x FROM t;
CREATE TABLE f (i INT, r ROW<x INT, y INT>, a ARRAY<INT>, m MAP<STRING, INT>, ts TIMESTAMP(3)) WITH ('connector'='filesystem','path'='file://${DATA}/faults.jsonl','format'='json','json.ignore-parse-errors'='true');
SELECT * FROM f;
CREATE TABLE g (i BIGINT) WITH ('connector'='filesystem','path'='file://${DATA}/faults.jsonl','format'='json','json.ignore-parse-errors'='true');
SELECT * FROM g;
