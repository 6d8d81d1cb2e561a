-- As q3; the later of auction and person completes the row.
SELECT P.name, P.city, P.state, A.id,
  CASE WHEN A.`dateTime` > P.`dateTime` THEN A.`dateTime` ELSE P.`dateTime` END AS completed
FROM auction AS A INNER JOIN person AS P ON A.seller = P.id
WHERE A.category = 10 AND (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA');
