-- The online shop's events from Kafka, its sales back to Kafka. See README.md beside this file.
-- Rows are written in transactions that are part of the checkpoints: consumers that read committed
-- messages see each of them once, whatever fails.
SET 'execution.checkpointing.interval' = '1 s';

-- Events as the shop's clients send them; malformed ones are skipped and counted. New partitions
-- are found while the job runs, and the group shows others how far it has come.
CREATE TABLE events (
  event_time TIMESTAMP(3),
  user_id    STRING,
  event_type STRING,
  item_id    STRING,
  category   STRING,
  price      DECIMAL(10, 2),
  quantity   INT,
  `partition` INT METADATA VIRTUAL,
  `offset`    BIGINT METADATA VIRTUAL,
  WATERMARK FOR event_time AS event_time - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'events',
  'properties.bootstrap.servers' = 'localhost:9092',
  'properties.group.id' = 'shop',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true'
);

CREATE VIEW purchases AS
SELECT event_time, category, price * quantity AS amount
FROM events
WHERE event_type = 'purchase';

-- One message for each category and minute.
CREATE TABLE sales_per_minute (
  window_start TIMESTAMP(3),
  category     STRING,
  orders       BIGINT,
  revenue      DECIMAL(38, 2)
) WITH (
  'connector' = 'kafka',
  'topic' = 'sales_per_minute',
  'properties.bootstrap.servers' = 'localhost:9092',
  'key.format' = 'raw',
  'key.fields' = 'category',
  'value.format' = 'json',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = 'shop-sales-per-minute'
);

-- The latest sums of each category: a message for each change, its key the category.
CREATE TABLE sales_by_category (
  category STRING,
  orders   BIGINT,
  revenue  DECIMAL(38, 2),
  PRIMARY KEY (category) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'sales_by_category',
  'properties.bootstrap.servers' = 'localhost:9092',
  'key.format' = 'raw',
  'value.format' = 'json',
  'sink.buffer-flush.max-rows' = '10000',
  'sink.buffer-flush.interval' = '1 s'
);

EXECUTE STATEMENT SET BEGIN

INSERT INTO sales_per_minute
SELECT window_start, category, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE purchases, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, category;

INSERT INTO sales_by_category
SELECT category, COUNT(*), SUM(amount)
FROM purchases
GROUP BY category;

END;
