CREATE TABLE ticker (symbol STRING, rt TIMESTAMP(3), price INT, tax INT, WATERMARK FOR rt AS rt - INTERVAL '1' MINUTE) WITH ('connector'='filesystem','path'='file://${DATA}/ticker.csv','format'='csv');
SELECT * FROM (SELECT symbol, rt, price, tax FROM ticker WHERE price > 4) MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.price AS a, B.price AS b PATTERN (A B) DEFINE B AS B.price > A.price) AS T WHERE a > 12;
SELECT * FROM (SELECT symbol, rt, price * 2 AS p FROM ticker) AS x MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.p AS a PATTERN (A B) DEFINE B AS B.p > A.p) AS T WHERE symbol = 'BOLT';
SELECT * FROM ticker AS x MATCH_RECOGNIZE (ORDER BY rt, price DESC MEASURES A.symbol AS s, A.price AS a, B.symbol AS s2, B.price AS b PATTERN (A B) DEFINE A AS A.price < 13, B AS B.price <> A.price);
SELECT * FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol, tax ORDER BY rt MEASURES A.price AS a, B.price AS b PATTERN (A (B C)) DEFINE A AS price > 14) AS T;
SELECT symbol, COUNT(*) AS n FROM ticker MATCH_RECOGNIZE (PARTITION BY symbol ORDER BY rt MEASURES A.price AS a PATTERN (A B) DEFINE A AS A.price IN (4, 17, 25)) AS T GROUP BY symbol;
