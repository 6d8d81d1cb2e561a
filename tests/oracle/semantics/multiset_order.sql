CREATE TABLE j (id INT, n ROW<a INT, b ARRAY<STRING>>, m MAP<STRING, DOUBLE>, `dec` DECIMAL(8,3), d DATE, t TIME(0), ts TIMESTAMP(3), bool BOOLEAN, bin BYTES) WITH ('connector'='filesystem','path'='file://${DATA}/nested.jsonl','format'='json');
SELECT * FROM j;
SELECT n.a, n.b[1] AS b1, m['k'] AS mk, CARDINALITY(n.b) AS c, `dec` * 2 AS d2, j.n.b AS nb FROM j;
SELECT COLLECT(x) AS c, COUNT(DISTINCT x) AS n FROM (VALUES ('pear'), ('apple'), ('fig'), ('apple'), ('banana'), ('cherry')) AS t(x);
SELECT COLLECT(x) AS c FROM (VALUES (100), (33), (17), (1), (17)) AS t(x);
