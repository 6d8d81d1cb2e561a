CREATE TABLE ticker (symbol STRING, rt TIMESTAMP(3), price INT, tax INT, WATERMARK FOR rt AS rt - INTERVAL '1' MINUTE) WITH ('connector'='filesystem','path'='file://${DATA}/ticker.csv','format'='csv');
CREATE VIEW matched AS SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.price AS a, MATCH_ROWTIME() AS mr, MATCH_ROWTIME(rt) AS mrt, LAST(B.rt) AS br PATTERN (A B) DEFINE A AS A.price > 3) AS T;
SELECT * FROM matched;
SELECT window_start, window_end, symbol, COUNT(*) AS n, SUM(a) AS s FROM TABLE(TUMBLE(TABLE matched, DESCRIPTOR(mr), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, symbol;
SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.rt AS a, C.rt AS c PATTERN (A B*? C) WITHIN INTERVAL '3' SECOND DEFINE A AS A.price > 14, C AS C.price > 18) AS T;
SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.rt AS a, C.rt AS c, MATCH_ROWTIME() AS m AFTER MATCH SKIP PAST LAST ROW PATTERN (A B* C) WITHIN INTERVAL '3' SECOND DEFINE A AS A.price > 3, B AS B.price >= A.price, C AS C.price < A.price) AS T;
SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.price AS a PATTERN (A B) WITHIN INTERVAL '0' SECOND DEFINE A AS A.price > 20) AS T;
