CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT item, price FROM bids ORDER BY ts;
SELECT item, price FROM bids ORDER BY price DESC LIMIT 3;
SELECT item, price FROM bids ORDER BY price, item LIMIT 2 OFFSET 1;
SELECT item, price FROM bids ORDER BY supplier, price DESC NULLS LAST FETCH FIRST 4 ROWS ONLY;
SELECT supplier, SUM(price) AS s FROM bids GROUP BY supplier ORDER BY s DESC LIMIT 2;
SELECT item FROM bids LIMIT 0;
SELECT item AS x, price + 1 AS y FROM bids ORDER BY y DESC, x LIMIT 2;
SELECT item FROM bids ORDER BY price DESC LIMIT 1;
SELECT * FROM (SELECT item, supplier, price, ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY price DESC) AS rn FROM bids) WHERE rn <= 2;
SELECT item, supplier FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY ts DESC) AS rn FROM bids) WHERE rn = 1;
SELECT item, supplier FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY ts ASC) AS rn FROM bids) WHERE rn = 1;
SELECT item, supplier, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY price) AS rn FROM bids) WHERE rn BETWEEN 2 AND 3;
SELECT supplier, c, rn FROM (SELECT supplier, c, ROW_NUMBER() OVER (ORDER BY c DESC, supplier) AS rn FROM (SELECT supplier, COUNT(*) AS c FROM bids GROUP BY supplier)) WHERE rn < 3;
SELECT item, supplier, price FROM bids QUALIFY ROW_NUMBER() OVER (PARTITION BY supplier ORDER BY price DESC) = 1;
SELECT item FROM bids ORDER BY RAND() LIMIT 0;
SELECT item FROM bids ORDER BY nope LIMIT 1;
SELECT item, price FROM bids ORDER BY 2 DESC LIMIT 2;
