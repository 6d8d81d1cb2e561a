CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT * FROM (SELECT window_start, window_end, item, price, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY price DESC) AS rn FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))) WHERE rn <= 2;
SELECT window_start, supplier, s, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY s DESC) AS rn FROM (SELECT window_start, window_end, supplier, SUM(price) AS s FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, supplier)) WHERE rn = 1;
SELECT window_start, item, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, supplier ORDER BY ts DESC) AS rn FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))) WHERE rn = 1;
SELECT window_start, item, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, supplier ORDER BY ts ASC) AS rn FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))) WHERE rn = 1;
SELECT item, supplier, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts DESC) AS rn FROM bids) WHERE rn = 1;
SELECT item, supplier, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts ASC) AS rn FROM bids) WHERE rn = 1;
SELECT item, supplier FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts ASC) AS rn FROM bids) WHERE rn <= 1 AND supplier <> 's1';
SELECT COUNT(*) AS c, SUM(price) AS s FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts DESC) AS rn FROM bids) WHERE rn = 1;
