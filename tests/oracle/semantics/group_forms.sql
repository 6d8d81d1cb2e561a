CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT supplier, item, COUNT(*) AS c FROM bids GROUP BY supplier, item HAVING COUNT(*) > 1;
SELECT UPPER(supplier) AS u, SUM(price) AS s FROM bids GROUP BY UPPER(supplier) HAVING SUM(price) > 5;
SELECT COUNT(*) AS c, COUNT(DISTINCT supplier) AS d, SUM(DISTINCT price) AS s, COUNT(DISTINCT item) FILTER (WHERE price > 2) AS f FROM bids;
SELECT supplier, COUNT(*) AS c FROM bids WHERE price > 100 GROUP BY supplier;
SELECT COUNT(*) AS c, SUM(price) AS s, MAX(ts) AS m FROM bids WHERE price > 100;
SELECT supplier, item, SUM(price) AS s, GROUPING(supplier) AS g, GROUPING_ID(supplier, item) AS gi FROM bids GROUP BY ROLLUP(supplier, item);
SELECT supplier, item, COUNT(*) AS s FROM bids GROUP BY GROUPING SETS ((supplier), (item), ());
SELECT supplier, COUNT(*) AS n FROM bids GROUP BY CUBE(supplier);
SELECT DISTINCT supplier FROM bids;
SELECT DISTINCT supplier, price > 3 AS big FROM bids;
SELECT COUNT(*) AS c, MAX(n) AS mx, MIN(n) AS mn, SUM(n) AS s, AVG(n) AS av FROM (SELECT supplier, COUNT(*) AS n FROM bids GROUP BY supplier);
SELECT n, COUNT(*) AS c, LISTAGG(supplier) AS l FROM (SELECT supplier, COUNT(*) AS n FROM bids GROUP BY supplier) GROUP BY n;
SELECT supplier, SUM(price) / COUNT(*) AS a, AVG(price) AS b, SUM(price) + 1 AS c, CASE WHEN COUNT(*) > 2 THEN 'many' ELSE 'few' END AS d FROM bids GROUP BY supplier;
SELECT SUBSTRING(CAST(ts AS STRING), 1, 16) AS mi, COUNT(*) AS c FROM bids GROUP BY SUBSTRING(CAST(ts AS STRING), 1, 16);
SELECT MAX(item) AS mx, MIN(item) AS mn, MAX(ts) AS mt, MIN(price) AS mp, COUNT(supplier) AS c, SUM(CASE WHEN supplier = 's1' THEN price ELSE 0 END) AS cs FROM bids;
SELECT STDDEV_POP(price) AS sp, STDDEV_SAMP(price) AS ss, VAR_POP(price) AS vp, VAR_SAMP(price) AS vs, VARIANCE(price) AS v FROM bids;
SELECT supplier, COUNT(*) FROM bids GROUP BY supplier;
SELECT supplier AS k, COUNT(*) FROM bids GROUP BY k;
SELECT COUNT(*) FILTER (WHERE price > 2) AS a, SUM(price) FILTER (WHERE supplier = 's1') AS b, MAX(item) FILTER (WHERE FALSE) AS c FROM bids;
SELECT supplier FROM bids GROUP BY supplier HAVING MAX(price) > 4 AND COUNT(*) < 5;
SELECT SINGLE_VALUE(c) AS x FROM (SELECT COUNT(*) AS c FROM bids);
