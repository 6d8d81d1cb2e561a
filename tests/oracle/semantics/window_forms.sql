CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT window_start, window_end, window_time, COUNT(*) AS c, SUM(price) AS s FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND)) GROUP BY window_start, window_end, window_time;
SELECT window_start, window_end, supplier, COUNT(*) AS c FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '2' SECOND) GROUP BY window_start, window_end, supplier;
SELECT window_start, window_end, COUNT(*) AS c FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND)) GROUP BY window_start, window_end;
SELECT window_start, window_end, supplier, COUNT(*) AS c, SUM(price) AS p FROM TABLE(SESSION(TABLE bids PARTITION BY supplier, DESCRIPTOR(ts), INTERVAL '3' SECOND)) GROUP BY window_start, window_end, supplier;
SELECT window_start, window_end, supplier, COUNT(*) AS c FROM TABLE(SESSION(DATA => TABLE bids PARTITION BY supplier, TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '5' SECOND)) GROUP BY supplier, window_start, window_end;
SELECT window_end, AVG(price) AS a, COUNT(DISTINCT supplier) AS d, MAX(item) AS m FROM TABLE(TUMBLE(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECONDS)) GROUP BY window_start, window_end HAVING COUNT(*) > 1;
SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE price > 3;
SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS ws, TUMBLE_END(ts, INTERVAL '10' SECOND) AS we, TUMBLE_ROWTIME(ts, INTERVAL '10' SECOND) AS wr, supplier, SUM(price) AS s FROM bids GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), supplier;
SELECT HOP_START(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND) AS ws, COUNT(*) AS c FROM bids GROUP BY HOP(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND);
SELECT SESSION_START(ts, INTERVAL '3' SECOND) AS ws, SESSION_END(ts, INTERVAL '3' SECOND) AS we, supplier, COUNT(*) AS c FROM bids GROUP BY SESSION(ts, INTERVAL '3' SECOND), supplier;
SELECT window_start, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start;
SELECT we, SUM(c) AS s FROM (SELECT window_start AS ws, window_end AS we, window_time AS wt, supplier, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, window_time, supplier) GROUP BY we;
CREATE VIEW w5 AS SELECT window_time AS rt, supplier, SUM(price) AS s FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, window_time, supplier;
SELECT window_start, window_end, SUM(s) AS s FROM TABLE(TUMBLE(TABLE w5, DESCRIPTOR(rt), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
SELECT window_start, window_end, supplier, SUM(price) AS p FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, ROLLUP(supplier);
