CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT window_start, window_end, window_time, item FROM TABLE(SESSION(TABLE bids PARTITION BY supplier, DESCRIPTOR(ts), INTERVAL '4' SECOND));
CREATE VIEW w1 AS SELECT supplier, window_start AS ws, window_end AS we, window_time AS wt, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY supplier, window_start, window_end, window_time;
SELECT window_start, window_end, SUM(c) AS s, COUNT(DISTINCT supplier) AS d FROM TABLE(TUMBLE(TABLE w1, DESCRIPTOR(wt), INTERVAL '20' SECOND)) GROUP BY window_start, window_end;
SELECT supplier, SUM(c) OVER (PARTITION BY supplier ORDER BY wt) AS run FROM w1;
SELECT ws, MAX(c) AS m FROM w1 GROUP BY ws, we;
SELECT w.supplier, w.c FROM w1 w WHERE w.c > 1;
SELECT window_start, window_end, supplier, COUNT(*) AS c, GROUPING(supplier) AS g FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY GROUPING SETS ((window_start, window_end, supplier), (window_start, window_end));
SELECT CAST(window_start AS DATE) AS d, DATE_FORMAT(window_end, 'HH:mm:ss') AS e, supplier, FIRST_VALUE(item) AS f, LAST_VALUE(item) AS l, LISTAGG(item) AS la FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, supplier;
SELECT window_start, window_end, COUNT(*) AS c, SUM(price) FILTER (WHERE supplier = 's1') AS f, COUNT(DISTINCT item) AS d, STDDEV_SAMP(price) AS sd FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND)) GROUP BY window_start, window_end;
SELECT window_start, window_end, MIN(ts) AS mn, MAX(ts) AS mx FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '30' SECOND, INTERVAL '5' SECOND)) GROUP BY window_start, window_end;
SELECT window_start, window_end, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '-3' SECOND)) GROUP BY window_start, window_end;
SELECT window_start, window_end, COUNT(*) AS c FROM TABLE(TUMBLE((SELECT * FROM bids WHERE price > 2), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
SELECT supplier, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY supplier, window_start, window_end;
