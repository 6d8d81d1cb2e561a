CREATE TABLE t (n INT, seq BIGINT, rnd BIGINT, patched BIGINT, rep SMALLINT, tiny TINYINT, flag BOOLEAN, f FLOAT, d DOUBLE, s STRING, dict STRING, ch CHAR(3), bin BYTES, dec5 DECIMAL(5, 2), dec38 DECIMAL(38, 10), dt DATE, ts3 TIMESTAMP(3), ts9 TIMESTAMP(9), arr ARRAY<INT>, m MAP<STRING, BIGINT>, r ROW<a INT, b STRING, c ROW<x DOUBLE, y ARRAY<STRING>>>) WITH ('connector'='filesystem','path'='file://${DATA}/types.orc','format'='orc');
SELECT * FROM t;
SELECT r.c.y, r.a, m['other'], arr[1] FROM t WHERE n > 20;
SELECT COUNT(*) AS n, COUNT(r) AS r, SUM(dec5) AS dec5, MAX(ts9) AS ts9 FROM t;
SELECT n, s FROM t WHERE dict = 'red' OR n = 3;
CREATE TABLE less (dict STRING, missing INT, n INT) WITH ('connector'='filesystem','path'='file://${DATA}/types.orc','format'='orc');
SELECT * FROM less WHERE n < 4;
CREATE TABLE bad (n INT) WITH ('connector'='filesystem','path'='file://${DATA}/q.csv','format'='orc');
SELECT * FROM bad;
