CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT item, item FROM bids LIMIT 1;
SELECT item AS a, price AS a FROM bids WHERE item = 'H';
SELECT * , price * 2 FROM bids WHERE item = 'H';
SELECT price + 1, UPPER(item), 1, 'x', price FROM bids WHERE item = 'H';
SELECT x.a AS z FROM (SELECT item FROM bids WHERE item = 'H') AS x(a);
SELECT price + '1' AS a, '2' * 3 AS b, '10' > 9 AS c, 1 = '1' AS d, 1.5 + 1e0 AS e FROM bids WHERE item = 'H';
SELECT item || 1 AS a FROM bids WHERE item = 'H';
SELECT CONCAT(item, 1, TRUE) AS a FROM bids WHERE item = 'H';
SELECT CASE WHEN price > 3 THEN 1 ELSE 2.5 END AS a, CASE item WHEN 'H' THEN 'yes' END AS b, COALESCE(NULL, 1, 2.5) AS c, IF(price > 3, 'big', 'small') AS d, NULLIF(1, 1) AS e FROM bids WHERE item IN ('H','E');
SELECT CASE WHEN price > 3 THEN 1 ELSE 'x' END AS a FROM bids WHERE item = 'H';
SELECT `item`, "item" FROM bids;
SELECT Item FROM bids;
SELECT bids.item FROM bids WHERE bids.price = 8 AND NOT (supplier = 's1' OR supplier IS NULL);
SELECT item FROM bids WHERE price BETWEEN 3 AND 5 AND item NOT IN ('C');
SELECT item FROM bids WHERE price IS NULL OR price <> price;
SELECT item FROM bids WHERE NOT price > 3;
SELECT item FROM bids WHERE (price > 3) IS NOT TRUE;
SELECT item FROM bids WHERE ts > TIMESTAMP '2024-03-01 10:00:40' AND ts <= CAST('2024-03-01 10:00:46.100' AS TIMESTAMP(3));
SELECT item FROM bids WHERE TRUE AND 1 = 1 AND price = 8.00;
SELECT DISTINCT item AS a FROM bids WHERE item < 'D';
SELECT ALL item FROM bids WHERE item > 'G';
SELECT $1 FROM bids;
SELECT item i FROM bids b WHERE b.item = 'H';
SELECT default_catalog.default_database.bids.item FROM bids WHERE item = 'H';
SELECT -price AS n, +price AS p, - -price AS pp, price - -1 AS q, ABS(-price) AS ab FROM bids WHERE item = 'H';
SELECT 5 / 2 AS a, 5 / 2.0 AS b, 5 % 3 AS c, -5 / 2 AS d, -5 % 3 AS e, MOD(-5, 3) AS f, 2147483647 + 1 AS g, CAST(127 AS TINYINT) + CAST(1 AS TINYINT) AS h;
SELECT 1 / 0 AS a;
