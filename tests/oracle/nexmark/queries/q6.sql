-- The average price of a seller's last winning bids: of each auction's winner and up to ten before it.
SELECT W.seller, AVG(W.price) OVER (PARTITION BY W.seller ORDER BY W.`dateTime` ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg_price
FROM (
  SELECT id, seller, price, `dateTime`
  FROM (
    SELECT A.id, A.seller, B.price, B.`dateTime`,
      ROW_NUMBER() OVER (PARTITION BY A.id, A.seller ORDER BY B.price DESC) AS rank_of_bid
    FROM auction A JOIN bid B ON A.id = B.auction AND B.`dateTime` BETWEEN A.`dateTime` AND A.expires
  )
  WHERE rank_of_bid = 1
) W;
