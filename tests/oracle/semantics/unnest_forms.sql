CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
CREATE VIEW v AS SELECT * FROM (VALUES (1, ARRAY[10,20], ARRAY[ROW('a',1),ROW('b',2)]), (2, ARRAY[30], CAST(NULL AS ARRAY<ROW<x STRING, y INT>>))) AS t(id, arr, rws);
SELECT id, e FROM v, UNNEST(arr) AS u(e);
SELECT id, u.e FROM v CROSS JOIN UNNEST(v.arr) AS u(e) WHERE u.e > 10;
SELECT id, x, y FROM v CROSS JOIN UNNEST(rws) AS u(x, y);
SELECT id, x, y FROM v LEFT JOIN UNNEST(rws) AS u(x, y) ON TRUE;
SELECT id, e, ord FROM v CROSS JOIN UNNEST(arr) WITH ORDINALITY AS u(e, ord);
SELECT supplier, it FROM (SELECT supplier, ARRAY_AGG(item) AS items FROM bids GROUP BY supplier) CROSS JOIN UNNEST(items) AS u(it);
SELECT id, SUM(e) AS s FROM v CROSS JOIN UNNEST(arr) AS u(e) GROUP BY id;
SELECT item, ch FROM bids CROSS JOIN UNNEST(SPLIT(CONCAT(item, '-', supplier), '-')) AS u(ch) WHERE price > 7;
SELECT k, val FROM (VALUES (MAP['a', 1, 'b', 2])) AS t(m) CROSS JOIN UNNEST(m) AS u(k, val);
SELECT it, n FROM (SELECT supplier, COLLECT(item) AS items FROM bids WHERE supplier = 's4' GROUP BY supplier) CROSS JOIN UNNEST(items) AS u(it, n);
SELECT it FROM (SELECT supplier, COLLECT(item) AS items FROM bids WHERE supplier = 's3' GROUP BY supplier) CROSS JOIN UNNEST(items) AS u(it);
