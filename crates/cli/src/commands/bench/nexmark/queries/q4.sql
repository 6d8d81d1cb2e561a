-- Average price by category: of the highest bids of all auctions.
CREATE TABLE results (category BIGINT, average_price BIGINT)
WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT closed.category, AVG(closed.final_price)
FROM (
  SELECT MAX(B.price) AS final_price, A.category
  FROM auction A, bid B
  WHERE A.id = B.auction AND B.`dateTime` BETWEEN A.`dateTime` AND A.expires
  GROUP BY A.id, A.category
) closed
GROUP BY closed.category;
