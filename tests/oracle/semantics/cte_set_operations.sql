CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
WITH a AS (SELECT item, price FROM bids WHERE price > 3), b2 AS (SELECT item FROM a) SELECT b2.item, COUNT(*) AS c FROM b2 GROUP BY b2.item;
SELECT item FROM bids WHERE supplier = 's1' UNION SELECT item FROM bids WHERE supplier = 's2';
SELECT item FROM bids WHERE supplier = 's1' UNION ALL SELECT item FROM bids WHERE supplier = 's2';
SELECT item FROM bids WHERE supplier = 's1' INTERSECT SELECT item FROM bids WHERE supplier = 's2';
SELECT item FROM bids WHERE supplier = 's1' EXCEPT SELECT item FROM bids WHERE supplier = 's2';
SELECT item FROM bids WHERE supplier = 's1' INTERSECT ALL SELECT item FROM bids WHERE supplier = 's2';
SELECT item FROM bids WHERE supplier = 's1' EXCEPT ALL SELECT item FROM bids WHERE supplier = 's2';
SELECT 1 AS a UNION ALL SELECT 2.5;
SELECT CAST(1 AS TINYINT) AS a, 'x' AS b UNION ALL SELECT CAST(2 AS BIGINT), CAST('yy' AS STRING);
(SELECT item FROM bids WHERE price > 7) UNION ALL (SELECT supplier FROM bids WHERE price > 7);
SELECT x, y FROM (VALUES (1, CAST(NULL AS STRING)), (1, CAST(NULL AS STRING)), (2, 'q')) AS t(x, y) INTERSECT SELECT x, y FROM (VALUES (1, CAST(NULL AS STRING)), (3, 'z')) AS t(x, y);
VALUES (1, 'a'), (2, 'b');
SELECT COUNT(*) AS c FROM (SELECT item FROM bids UNION SELECT supplier FROM bids);
