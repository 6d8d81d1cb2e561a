-- An online shop's events in, its sales and behaviour out. Run it from the project's root:
--   flott run examples/shop/shop.sql
-- Two tables of results go to the terminal, four to files under examples/shop/out/.

-- Events as the shop's clients send them. Malformed lines are skipped and counted; events may come
-- up to 10 seconds late, later ones are left out of the windows.
CREATE TABLE events (
  event_time TIMESTAMP(3),
  user_id    STRING,
  event_type STRING,
  item_id    STRING,
  category   STRING,
  price      DECIMAL(10, 2),
  quantity   INT,
  WATERMARK FOR event_time AS event_time - INTERVAL '10' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = 'examples/shop/data/events.jsonl',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true'
);

CREATE VIEW purchases AS
SELECT event_time, user_id, item_id, category, price * quantity AS amount, quantity
FROM events
WHERE event_type = 'purchase';

CREATE TABLE sales_per_minute (
  window_start TIMESTAMP(3),
  category     STRING,
  orders       BIGINT,
  revenue      DECIMAL(38, 2)
) WITH ('connector' = 'filesystem', 'path' = 'examples/shop/out/sales_per_minute', 'format' = 'csv');

CREATE TABLE best_sellers (
  window_start TIMESTAMP(3),
  place        BIGINT,
  item_id      STRING,
  sold         INT
) WITH ('connector' = 'filesystem', 'path' = 'examples/shop/out/best_sellers', 'format' = 'json');

CREATE TABLE conversion_per_session (
  session_start TIMESTAMP(3),
  session_end   TIMESTAMP(3),
  user_id       STRING,
  views         BIGINT,
  purchases     BIGINT
) WITH ('connector' = 'filesystem', 'path' = 'examples/shop/out/conversion_per_session', 'format' = 'csv');

CREATE TABLE behaviour_per_window (
  window_start       TIMESTAMP(3),
  clicks_per_user    DOUBLE,
  purchases_per_item DOUBLE
) WITH ('connector' = 'filesystem', 'path' = 'examples/shop/out/behaviour_per_window', 'format' = 'csv');

-- Four results from one pass over the events.
EXECUTE STATEMENT SET BEGIN

-- Sales per category and minute.
INSERT INTO sales_per_minute
SELECT window_start, category, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE purchases, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, category;

-- The three best sellers of each ten minutes.
INSERT INTO best_sellers
SELECT window_start, place, item_id, sold
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY sold DESC, item_id) AS place
  FROM (
    SELECT window_start, window_end, item_id, SUM(quantity) AS sold
    FROM TABLE(TUMBLE(TABLE purchases, DESCRIPTOR(event_time), INTERVAL '10' MINUTE))
    GROUP BY window_start, window_end, item_id
  )
)
WHERE place <= 3;

-- What each visit came to: a session ends after two minutes without an event.
INSERT INTO conversion_per_session
SELECT window_start, window_end, user_id,
  COUNT(*) FILTER (WHERE event_type = 'view'),
  COUNT(*) FILTER (WHERE event_type = 'purchase')
FROM TABLE(SESSION(TABLE events PARTITION BY user_id, DESCRIPTOR(event_time), INTERVAL '2' MINUTE))
GROUP BY window_start, window_end, user_id;

-- Average clicks per user and purchases per item, for the last ten minutes every five.
INSERT INTO behaviour_per_window
SELECT window_start,
  COUNT(*) FILTER (WHERE event_type = 'view') * 1.0E0 / COUNT(DISTINCT user_id),
  COUNT(*) FILTER (WHERE event_type = 'purchase') * 1.0E0 / COUNT(DISTINCT item_id)
FROM TABLE(HOP(TABLE events, DESCRIPTOR(event_time), INTERVAL '5' MINUTE, INTERVAL '10' MINUTE))
GROUP BY window_start, window_end;

END;

-- The same to the terminal: the hour's categories as they grow, in their final state.
SET 'execution.runtime-mode' = 'batch';

SELECT category, COUNT(*) AS orders, SUM(amount) AS revenue, AVG(amount) AS average_order
FROM purchases
GROUP BY category
ORDER BY revenue DESC;

SELECT event_type, COUNT(*) AS events, COUNT(DISTINCT user_id) AS users
FROM events
GROUP BY event_type
ORDER BY events DESC;
