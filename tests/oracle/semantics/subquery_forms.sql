CREATE TABLE bids (
  ts TIMESTAMP(3), price DECIMAL(10,2), item STRING, supplier STRING,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector'='filesystem','path'='file://${DATA}/bids.csv','format'='csv','csv.null-literal'='');
SELECT item, price FROM bids WHERE price = (SELECT MAX(price) FROM bids);
SELECT item FROM bids WHERE supplier IN (SELECT supplier FROM bids WHERE price > 7);
SELECT item FROM bids WHERE supplier NOT IN (SELECT supplier FROM bids WHERE price > 7 AND supplier IS NOT NULL);
SELECT DISTINCT b.supplier FROM bids b WHERE EXISTS (SELECT 1 FROM bids c WHERE c.supplier = b.supplier AND c.price > 7);
SELECT b.supplier FROM bids b WHERE NOT EXISTS (SELECT 1 FROM bids c WHERE c.supplier = b.supplier AND c.price > 3);
SELECT item, (SELECT COUNT(*) FROM bids) AS n FROM bids WHERE price > 7;
SELECT a.item, a.price FROM bids a WHERE a.price > (SELECT AVG(b.price) FROM bids b WHERE b.supplier = a.supplier);
SELECT supplier, c FROM (SELECT supplier, COUNT(*) AS c FROM bids GROUP BY supplier) WHERE c > 2;
SELECT item FROM bids WHERE (item, supplier) IN (SELECT item, supplier FROM bids WHERE price > 6);
SELECT item FROM bids WHERE price > ANY (SELECT price FROM bids WHERE supplier = 's2');
SELECT item FROM bids WHERE price IN (7, 8.0, 9.99);
SELECT item FROM bids WHERE price NOT IN (7, NULL);
